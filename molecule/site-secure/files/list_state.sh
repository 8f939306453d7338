#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# list_state.sh: devices, routes, neighbours, FDB, firewall rules and files that flanneld makes on this host, a line
# for each. What the tests put there themselves (br-blue, probe-blue) is left out, and that a link is down: the kernel
# says so some time after the end of the process that had the device of the backend udp.
set -euo pipefail

{
    ip -brief link | cut --delimiter=' ' --fields=1
    ip -family inet -oneline address | tr --squeeze-repeats ' ' | cut --delimiter=' ' --fields=2-4
    ip route
    ip -6 route
    for device in flannel.1 flannel-v6.1; do
        ip neighbour show dev "$device" nud permanent | sed "s/^/$device /"
        bridge fdb show dev "$device" | sed "s/^/$device /"
    done
    for family in iptables ip6tables; do "$family-save" | sed --quiet "s/^-A/$family &/p"; done
    nft list tables
    find /run/flannel* /var/lib/flanneld*
} | sed 's/ linkdown\b//' | grep --invert-match --extended-regexp '(br|probe)-blue' | sort
