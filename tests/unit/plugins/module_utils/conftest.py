# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hypothesis without clock and database: a slow machine fails no test, and a run leaves no files behind."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("rules", deadline=None, database=None, max_examples=200)
settings.load_profile("rules")
