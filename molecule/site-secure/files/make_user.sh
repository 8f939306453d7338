#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# make_user.sh ENDPOINT PREFIX... < PASSWORD
# The user flannel with the rights that roles/flannel/README.md names, below each PREFIX; authentication on.
set -euo pipefail

export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=$1 ETCDCTL_CACERT=/etc/ssl/weft/ca.crt
shift
password=$(cat)

etcdctl role add flannel
for prefix in "$@"; do
    etcdctl role grant-permission flannel readwrite "$prefix/config"
    etcdctl role grant-permission flannel --prefix=true readwrite "$prefix/subnets/"
    etcdctl role grant-permission flannel --prefix=true readwrite "$prefix/nodes/"
done
etcdctl user add flannel --interactive=false <<< "$password"
etcdctl user grant-role flannel flannel
etcdctl user add root --interactive=false <<< "$(openssl rand -hex 16)"
etcdctl user grant-role root root
etcdctl auth enable
