# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which programs in drivers of network cards are ours (tables/early.py)."""

from __future__ import annotations

from typing import NamedTuple, Sequence, Tuple


class EarlyProgram(NamedTuple):
    """number: by which the kernel knows it."""

    device: str
    number: int


class EarlyRecord:
    """For this process; in a file, for the next one as well (resuming.py)."""

    def __init__(self) -> None:
        self._kept: Tuple[EarlyProgram, ...] = ()

    def keep(self, programs: Sequence[EarlyProgram]) -> None:
        """Raises OSError."""
        self._kept = tuple(programs)

    def recall(self) -> Sequence[EarlyProgram]:
        return self._kept
