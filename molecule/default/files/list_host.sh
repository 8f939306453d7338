#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# list_host.sh: what a host is like, a line for each thing: links, addresses, routes, rules, neighbours, FDB, packet
# filters, what firewalld and ufw say of theirs, forwarding, units, and files that no package brought. Before the
# collection came and after it has gone, the lines are the same. An empty chain of iptables that accepts is nothing.
set -euo pipefail
export LC_ALL=C

list_files() {
    find /etc /usr/lib/flanneld /usr/local /usr/lib/systemd /var/lib /run/flannel* /run/systemd/generator* /opt /root \
        -xdev '(' -path /var/lib/docker -o -path /var/lib/containerd -o -path /var/lib/apt -o -path /var/lib/dpkg \
        -o -path /var/lib/systemd -o -path /var/lib/private -o -path /etc/systemd/system/multi-user.target.wants \
        -o -path /root/.ansible -o -path '/etc/rc?.d' -o -path '/etc/alternatives' -o -name '__pycache__' ')' \
        -prune -o -print 2>/dev/null || true # some are not there
}

{
    ip -brief link | cut --delimiter=' ' --fields=1 | sed 's/@.*//; s/^/link /'
    ip -oneline address | tr --squeeze-repeats ' ' | cut --delimiter=' ' --fields=2-4 |
        grep --invert-match 'inet6 fe80' | sed 's/^/address /'
    for family in -4 -6; do
        ip "$family" route show table all | grep --invert-match 'fe80\|ff00' | sed "s/ metric.*//; s/ linkdown//; s/^/route $family /"
        ip "$family" rule | sed "s/^/rule $family /"
        ip "$family" neighbour show nud permanent | sed "s/^/neighbour /"
    done
    bridge fdb | grep --extended-regexp 'flannel' | sed 's/^/fdb /' || true
    for family in iptables ip6tables; do
        if command -v "$family-save" > /dev/null; then
            "$family-save" 2> /dev/null | sed --quiet --expression="s/^-A/$family &/p" --expression="/ACCEPT/!s/^:\([^[]*\).*/$family \1/p"
        fi
    done
    if command -v nft > /dev/null; then
        nft list tables | { grep --invert-match --extended-regexp 'ip6? (filter|nat|mangle|raw)$' || true; } |
            while read -r word family table; do
                echo "$word $family $table"
                nft --stateless list table "$family" "$table" | sed "s/^[[:space:]]*/nft $family $table /"
            done
    fi
    if command -v firewall-cmd > /dev/null; then
        for layer in --permanent ''; do
            for what in policies zones; do
                # shellcheck disable=SC2086
                firewall-cmd $layer "--list-all-$what" 2> /dev/null | sed "s/^/firewalld $layer $what /" || true # it does not run
            done
        done
    fi
    if command -v ufw > /dev/null; then ufw show added | sed 's/^/ufw /'; fi
    for directory in /etc/firewalld /etc/ufw; do
        if [ -e "$directory" ]; then find "$directory" -type f -exec sha256sum {} + | sed 's/^/content /'; fi
    done
    for name in net/ipv4/ip_forward net/ipv6/conf/all/forwarding; do echo "sysctl $name $(cat "/proc/sys/$name")"; done
    systemctl list-units --all --plain --no-legend --type=service 'flannel*' 'flanneld*' 'etcd*' | cut --delimiter=' ' --fields=1 | sed 's/^/unit /'
    sort --unique <(cat /var/lib/dpkg/info/*.list /var/lib/dpkg/info/*.conffiles 2>/dev/null) > /tmp/of-packages
    list_files | sort --unique | comm -23 - /tmp/of-packages | sed 's/^/file /'
    rm /tmp/of-packages
} | sort --unique
