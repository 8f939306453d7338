# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible imports the collection before any test does: else it would not find filters by their full names."""

from __future__ import annotations

import importlib

importlib.import_module("tests.support.rendering")
