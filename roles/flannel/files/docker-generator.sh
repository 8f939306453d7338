#!/bin/sh
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# systemd generator, see systemd.generator(7).  -I -S: no site packages, 10 ms instead of 50.
[ -x /usr/bin/python3 ] || exit 0
exec /usr/bin/python3 -I -S /usr/lib/flanneld/docker_generator.py "$@"
