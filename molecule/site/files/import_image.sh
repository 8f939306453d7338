#!/usr/bin/env bash
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# import_image.sh PROGRAM: make the image weft-probe of docker or podman from this host's own Python and /probe.py,
# without a registry.  Every file goes to the path under which the loader asks for it.
set -euo pipefail

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

for file in /probe.py /usr/bin/python3 $(ldd /usr/bin/python3 | grep --only-matching '/[^ ]*'); do
    install -D "$file" "$root$file"
done
cp --recursive --parents /usr/lib/python3.* "$root"
tar --create --directory="$root" . | "$1" import - weft-probe
