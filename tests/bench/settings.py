# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every section is told."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Tuple

from tests.bench.daemon import Subject


@dataclass(frozen=True)
class Settings:
    """rounds: how often everything is measured. subjects: ours first."""

    rounds: int
    subjects: Tuple[Subject, ...]

    def tell(self, progress: str) -> None:
        print(progress, file=sys.stderr, flush=True)
