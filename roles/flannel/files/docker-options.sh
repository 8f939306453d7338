#!/bin/sh
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# docker-options SUBNET_ENV OPTIONS_FILE
#
# Waits for subnet.env and writes the options that dockerd takes from it, under the names of upstream's
# mk-docker-opts.sh.  ExecStartPre= of docker.service: a Docker that started without them would give its containers
# addresses that no other host has a route to, and only stopping them all would bring them back.
set -eu
subnet_env=$1
options=$2

if ! [ -s "$subnet_env" ]; then
    echo "waiting for $subnet_env, which flanneld writes; see: systemctl status flanneld" >&2
    until [ -s "$subnet_env" ]; do sleep 1; done
fi

# shellcheck source=/dev/null
. "$subnet_env"
: "${FLANNEL_SUBNET:?missing in $subnet_env; restart flanneld}" "${FLANNEL_MTU:?missing in $subnet_env; restart flanneld}"
# Exactly one of the two masquerades (FLANNEL_IPMASQ=true: flanneld does).
case ${FLANNEL_IPMASQ:-false} in
    true) masquerade=false ;;
    *) masquerade=true ;;
esac

mkdir -p "$(dirname "$options")"
cat > "$options.new" <<OPTIONS
DOCKER_OPT_BIP="--bip=$FLANNEL_SUBNET"
DOCKER_OPT_IPMASQ="--ip-masq=$masquerade"
DOCKER_OPT_MTU="--mtu=$FLANNEL_MTU"
OPTIONS
mv "$options.new" "$options"
