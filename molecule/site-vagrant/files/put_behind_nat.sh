#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# put_behind_nat.sh: give this host an interface as Vagrant does with VirtualBox: the one of the default route, with an
# address that is the same on every host.
set -euo pipefail

ip netns add nat
ip link add enp0s3 type veth peer name gateway netns nat
ip -netns nat address add 10.0.2.2/24 dev gateway
ip -netns nat link set gateway up
ip address add 10.0.2.15/24 dev enp0s3
ip link set enp0s3 up
ip route replace default via 10.0.2.2 dev enp0s3
ip -netns nat route add default via 10.0.2.15
