#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# become_v2.sh: replace our flanneld by one of before v0.18, with the backend host-gw, as upstream's unit starts it. The
# data path stays as that one would have made it: routes through the other hosts, of the protocol that `ip route` has.
set -euo pipefail

cat /run/flannel/subnet.env > /run/weft-migrate-before
systemctl disable --quiet --now flanneld.service
rm -r /etc/systemd/system/flanneld.service /etc/flanneld /var/lib/flanneld

ip -4 route show proto 102 | while read -r route; do
    # shellcheck disable=SC2086
    ip route replace ${route/proto 102/proto boot}
done

cat > /etc/systemd/system/flanneld.service << 'UNIT'
[Unit]
Description=flannel of before v0.18
[Service]
Type=notify
NotifyAccess=all
Restart=always
ExecStart=/opt/flanneld -etcd-endpoints=http://192.0.2.10:4001 -iface=eth0 -ip-masq
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --quiet --now flanneld.service
