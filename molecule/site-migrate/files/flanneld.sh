#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Stands for upstream's flanneld of before v0.27, on a host whose data path exists: it takes its lease and its device as
# they are, says that it is ready, and when it is asked to end it takes its firewall rules along. With an etcd without
# TLS it is one of before v0.18, whose lease is in the v2 API.
set -euo pipefail

endpoints=${FLANNELD_ETCD_ENDPOINTS:-} public_ip=${FLANNELD_PUBLIC_IP:-}
ca=${FLANNELD_ETCD_CAFILE:-} cert=${FLANNELD_ETCD_CERTFILE:-} key=${FLANNELD_ETCD_KEYFILE:-}
for flag in "$@"; do
    case $flag in
        *etcd-endpoints=*) endpoints=${flag#*=} ;;
        *etcd-cafile=*) ca=${flag#*=} ;;
        *etcd-certfile=*) cert=${flag#*=} ;;
        *etcd-keyfile=*) key=${flag#*=} ;;
        *public-ip=*) public_ip=${flag#*=} ;;
    esac
done
take_lease() {
    export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=$endpoints ETCDCTL_CACERT=$ca ETCDCTL_CERT=$cert ETCDCTL_KEY=$key

    # shellcheck disable=SC1091
    . /run/flannel/subnet.env
    subnet=/coreos.com/network/subnets/${FLANNEL_SUBNET%.*}.0-24
    mac=$(cat /sys/class/net/flannel.1/address)
    lease=$(etcdctl lease grant 86400 | cut -d ' ' -f 2)
    etcdctl put --lease="$lease" "$subnet" "{\"PublicIP\":\"$public_ip\",\"PublicIPv6\":null,\"BackendType\":\"vxlan\",\"BackendData\":{\"VNI\":1,\"VtepMAC\":\"$mac\"}}"
}
case $endpoints in
    http:*) ;;
    *) take_lease ;;
esac

take_rules_along() {
    iptables --wait --flush FLANNEL-FWD
    iptables --wait --table nat --flush FLANNEL-POSTRTG
    exit 0
}
trap take_rules_along TERM
systemd-notify --ready
while true; do sleep 1; done
