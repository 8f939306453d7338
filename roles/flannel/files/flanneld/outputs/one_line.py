# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts from etcd, made fit for one line of a log or a terminal: whoever writes a lease must not write our log, too."""

from __future__ import annotations


def escape(text: str) -> str:
    """The text with everything that is not printable (newlines, escape sequences, lone surrogates) as \\x1b."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
