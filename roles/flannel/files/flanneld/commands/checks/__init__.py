# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The known causes of trouble (spec appendix E), each as a small pure function on what was read of the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterable

from flanneld.commands.facts import Facts

WARN, FAIL = "warn", "FAIL"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be. level: WARN, or FAIL for what takes traffic away or soon will."""

    level: str
    cause: str
    next_step: str


@dataclass(frozen=True)
class Check:
    """name: what is looked at, in a few words. run: finds nothing when all is well. needs_store: it says nothing
    without etcd; needs_agent: it says nothing without a running agent."""

    name: str
    run: Callable[[Facts], Iterable[Finding]]
    needs_store: bool = False
    needs_agent: bool = False
