#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# ask.sh NAMESPACE MTU ADDRESS...: ask the probe at each ADDRESS from NAMESPACE; a line of JSON for each answer
set -euo pipefail

namespace=$1 mtu=$2
shift 2
for address in "$@"; do
    ip netns exec "$namespace" /usr/bin/python3 /probe.py ask "$address" "$mtu"
done
