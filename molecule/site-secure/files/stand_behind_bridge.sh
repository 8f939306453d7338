#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# stand_behind_bridge.sh NAME BRIDGE RUN: put a namespace NAME behind BRIDGE, with an address of each family in
# RUN/subnet.env and the probe serving in it.  A bridge that is not there is made.  Prints its addresses and the MTU.
set -euo pipefail

name=$1 bridge=$2
# shellcheck disable=SC1091
. "$3/subnet.env"
# 10.42.5.1/24 and fd00:42:0:7::1/64: the bridge's; .200 and ::200 are free.
address4=${FLANNEL_SUBNET%.*}.200
has6=${FLANNEL_IPV6_SUBNET:+yes}
address6=${has6:+${FLANNEL_IPV6_SUBNET%::*}::200}

if ! [ -e "/run/netns/$name" ]; then
    [ -e "/sys/class/net/$bridge" ] || ip link add "$bridge" mtu "$FLANNEL_MTU" type bridge
    ip link set "$bridge" up
    ip address replace "$FLANNEL_SUBNET" dev "$bridge"
    if [ "$has6" ]; then ip address replace "$FLANNEL_IPV6_SUBNET" dev "$bridge" nodad; fi

    ip netns add "$name"
    ip link add "probe-$name" mtu "$FLANNEL_MTU" type veth peer name eth0 mtu "$FLANNEL_MTU" netns "$name"
    ip link set "probe-$name" master "$bridge" up
    ip -netns "$name" link set lo up
    ip -netns "$name" link set eth0 up
    ip -netns "$name" address add "$address4/24" dev eth0
    ip -netns "$name" route add default via "${FLANNEL_SUBNET%/*}"
    if [ "$has6" ]; then
        ip -netns "$name" address add "$address6/64" dev eth0 nodad
        ip -netns "$name" route add default via "${FLANNEL_IPV6_SUBNET%/*}"
    fi
    systemd-run --quiet --unit="weft-probe-$name" --property=NetworkNamespacePath="/run/netns/$name" \
        /usr/bin/python3 /probe.py serve
fi
printf '{"ipv4": ["%s"], "ipv6": [%s], "mtu": %s}\n' "$address4" "${has6:+\"$address6\"}" "$FLANNEL_MTU"
