#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# reload_under_traffic.sh NAMESPACE UNIT KEPT ADDRESS...: reload UNIT while NAMESPACE pings each ADDRESS 20 times a second,
# 160 times in all. Fails when fewer than KEPT echoes come back or none does afterwards, the process is another one than
# before, or it has read nothing.
set -euo pipefail

namespace=$1 unit=$2 kept=$3
shift 3

pings=()
for address in "$@"; do
    ip netns exec "$namespace" ping -q -i 0.05 -c 160 "$address" > "/run/weft-ping-$address" &
    pings+=("$!")
done

main_pid() { systemctl show --property=MainPID --value "$unit"; }
count_starts() { journalctl --boot --unit="$unit" --output=cat --grep='CLI flags config' | wc -l; }

before=$(main_pid)
starts=$(count_starts)
sleep 1
systemctl reload "$unit"
wait "${pings[@]}"

for address in "$@"; do
    received=$(sed --quiet 's/.* \([0-9]*\) received.*/\1/p' "/run/weft-ping-$address")
    [ "$received" -ge "$kept" ] || { cat "/run/weft-ping-$address"; exit 1; }
    ip netns exec "$namespace" ping -q -c 1 -w 60 "$address" > /dev/null || { echo "$address does not answer"; exit 1; }
done
[ "$(main_pid)" = "$before" ] || { echo "another process: $(main_pid), was $before"; exit 1; }
[ "$(count_starts)" -eq "$((starts + 1))" ] || { echo "it has read nothing"; exit 1; }
