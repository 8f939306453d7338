#!/bin/sh
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# describe.sh: all that a failed scenario may be explained by, from inside a machine.

show() { printf '\n$ %s\n' "$*"; "$@" 2>&1; }

show systemctl --failed --no-pager
show ip -details -brief address
show ip -details link show type vxlan
show ip route
show ip -6 route
show ip neighbour
show bridge fdb show dev flannel.1
show iptables-save
show ip6tables-save
show nft list ruleset
show cat /run/flannel/subnet.env
show flanneld status --peers
show flanneld status --peers --instance=blue
show docker ps --all
show env ETCDCTL_API=3 etcdctl --endpoints "https://$(hostname --all-ip-addresses | cut -d " " -f 1):2379" \
    --cacert=/etc/etcd/tls/ca.crt --cert=/etc/etcd/tls/root.crt --key=/etc/etcd/tls/root.key get --prefix /coreos.com/network
show journalctl --boot --no-pager --lines 20 --unit docker
show journalctl --boot --no-pager --lines 30 --unit etcd
show journalctl --boot --no-pager --lines 100 --unit flanneld
show journalctl --boot --no-pager --lines 100 --unit flanneld@blue
