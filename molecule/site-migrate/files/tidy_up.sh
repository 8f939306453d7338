#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# tidy_up.sh: take away what become_other.sh and the migration have left for the way back.
set -euo pipefail

systemctl stop weft-probe-weft-mig.service
ip netns delete weft-mig
rm -rf /opt/flanneld /etc/flanneld/upstream /etc/systemd/system/flannel.service /etc/sysconfig/flanneld \
    /etc/default/flanneld /usr/lib/systemd/system/flanneld.service
systemctl daemon-reload
