#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# abort_at.sh TEXT COMMAND...: run COMMAND, and kill it and all its processes as soon as it says TEXT. Fails if it never
# does.
set -euo pipefail

text=$1
# A session of its own, so that the kill reaches all that it has started.
exec 3< <(exec setsid "${@:2}" 2>&1)
pid=$!
while read -r line <&3; do
    if [[ $line == *"$text"* ]]; then
        kill -KILL -- "-$pid"
        exit 0
    fi
    printf '%s\n' "$line"
done
exit 1
