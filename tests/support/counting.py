# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What work is done, counted."""

from __future__ import annotations

import sys
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from flanneld.tables import Change, KernelError, Key, Notice


class CountingTable:
    """A table of a host that does as it is told. things: what the host has. changes: what it was told; dumps: how often
    it was read. notices: what is told when the kernel sends the message of that number."""

    def __init__(self, kind: type) -> None:
        self.name = kind.__name__
        self.kinds: Tuple[type, ...] = (kind,)
        self.things: Dict[Key, Any] = {}
        self.changes: List[Change] = []
        self.dumps = 0
        self.notices: List[Notice] = []

    def dump(self) -> Dict[Key, Any]:
        self.dumps += 1
        return dict(self.things)

    def owns(self, thing: Any) -> bool:
        return True

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        for change in changes:
            self.changes.append(change)
            if change.after is None:
                del self.things[change.key]
            else:
                self.things[change.key] = change.after
        return {}

    def notice(self, message: Any) -> Optional[Notice]:
        return self.notices[message] if self.notices else None


def count_calls(function: Any, *arguments: Any) -> int:
    """Python functions that were called, and functions of C."""
    calls = 0

    def see(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return calls
