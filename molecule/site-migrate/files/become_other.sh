#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# become_other.sh INDEX ENDPOINT ADDRESS: replace our flanneld by another one, while the data path stays.
#   1  a unit with the name and the place of ours, with a drop-in, the older names of Fedora and its wrapper's flags
#   2  another name, flags only; Docker requires it
#   3  the unit of a package, with FLANNELD_*
set -euo pipefail

index=$1 endpoint=$2 address=$3
units=/etc/systemd/system
# The other one had its certificate before ours came.
tls=/etc/ssl/other-flanneld

cat /sys/class/net/flannel.1/address /run/flannel/subnet.env > /run/weft-migrate-before
systemctl disable --quiet --now flanneld.service
rm -rf "$tls"
mv /etc/flanneld/tls "$tls"
rm -r "$units/flanneld.service" /etc/flanneld /var/lib/flanneld

write_unit() { # FILE EXEC_START EXTRA [INSTALL]
    printf '[Unit]\nDescription=Another flanneld\n[Service]\nType=notify\nNotifyAccess=all\nRestart=always\n%b\nExecStart=%s\nExecStopPost=/usr/sbin/ip link delete flannel.1\n[Install]\nWantedBy=multi-user.target\n%b\n' \
        "$3" "$2" "${4:-}" > "$1"
}

case $index in
1)
    mkdir -p /etc/sysconfig "$units/flanneld.service.d"
    printf 'FLANNEL_ETCD="%s"\nFLANNEL_ETCD_KEY="/coreos.com/network"\n' "$endpoint" > /etc/sysconfig/flanneld
    write_unit "$units/flanneld.service" \
        "/opt/flanneld -etcd-endpoints=\${FLANNEL_ETCD} -etcd-prefix=\${FLANNEL_ETCD_KEY} \$FLANNEL_OPTIONS" \
        "EnvironmentFile=/etc/sysconfig/flanneld"
    printf '[Service]\nEnvironment="FLANNEL_OPTIONS=--ip-masq --public-ip=%s -healthz-port 8471 %s"\n' "$address" \
        "-etcd-cafile=$tls/ca.crt -etcd-certfile=$tls/client.crt -etcd-keyfile=$tls/client.key" \
        > "$units/flanneld.service.d/50-options.conf"
    unit=flanneld ;;
2)
    write_unit "$units/flannel.service" \
        "/opt/flanneld --etcd-endpoints=$endpoint --public-ip=$address --ip-masq --subnet-lease-renew-margin=45 --etcd-cafile=$tls/ca.crt --etcd-certfile=$tls/client.crt --etcd-keyfile=$tls/client.key" \
        "" RequiredBy=docker.service
    unit=flannel ;;
3)
    printf 'FLANNELD_ETCD_ENDPOINTS=%s\nFLANNELD_PUBLIC_IP=%s\nFLANNELD_IP_MASQ=true\n' "$endpoint" "$address" \
        > /etc/default/flanneld
    printf 'FLANNELD_ETCD_CAFILE=%s\nFLANNELD_ETCD_CERTFILE=%s\nFLANNELD_ETCD_KEYFILE=%s\n' \
        "$tls/ca.crt" "$tls/client.crt" "$tls/client.key" >> /etc/default/flanneld
    write_unit /usr/lib/systemd/system/flanneld.service /opt/flanneld EnvironmentFile=-/etc/default/flanneld
    unit=flanneld ;;
esac
systemctl daemon-reload
systemctl enable --quiet --now "$unit.service"
