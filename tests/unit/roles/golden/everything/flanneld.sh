#!/bin/sh
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Managed by the role weft.flannel.flannel; local changes are overwritten.
# The program is the one that the link flanneld.pyz chooses; the Python is that of flannel_python.
exec /usr/bin/python3 -I /usr/lib/flanneld/flanneld.pyz "$@"
