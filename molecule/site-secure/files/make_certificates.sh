#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# make_certificates.sh ADDRESS: an authority and a certificate of etcd at ADDRESS, in /etc/ssl/weft
set -euo pipefail

mkdir -p /etc/ssl/weft
cd /etc/ssl/weft
new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${new_key[@]}" -days 30 -subj /CN=weft -keyout ca.key -out ca.crt
openssl req "${new_key[@]}" -subj /CN=etcd -keyout etcd.key -out etcd.csr
openssl x509 -req -in etcd.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out etcd.crt \
    -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=IP:%s\n' "$1")
