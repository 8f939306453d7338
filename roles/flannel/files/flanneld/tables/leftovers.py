# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tables hold that nothing is wanted from any more: the firewall manager not in use, rules of old versions.

Nobody marks this table, so it is read at start and whenever everything is, and costs nothing at the periodic check.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Sequence, Set

from . import Change, KernelError, Key, Notice, Table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Leftover:
    """An object of ours in a table that nothing is wanted from. thing: the object, of that table's kind."""

    table: str
    thing: Any

    @property
    def key(self) -> Key:
        return (self.table, self.thing.key)

    @property
    def device(self) -> str:
        return ""

    def __str__(self) -> str:
        return f"{self.table} {self.thing}"


class LeftoverTable:
    """The tables given, as one whose objects are all to go."""

    name = "firewall leftover"
    kinds = (Leftover,)

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tuple(tables)
        self._said: Set[str] = set()

    def dump(self) -> Dict[Key, Leftover]:
        """A table that cannot be read is passed over: nothing is wanted from it, and it may well be another's."""
        found: Dict[Key, Leftover] = {}
        for table in self._tables:
            try:
                things = table.dump().values()
            except KernelError as error:
                self._say_once(f"nothing can be removed from {table.name}: {error}")
                continue
            for leftover in (Leftover(table.name, thing) for thing in things if table.owns(thing)):
                found[leftover.key] = leftover
        return found

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            log.info("%s", line)

    def owns(self, thing: Leftover) -> bool:
        return True

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        errors: Dict[Key, KernelError] = {}
        for table in self._tables:
            removals = [
                Change(change.thing.thing.key, change.thing.thing, None)
                for change in changes
                if change.thing.table == table.name
            ]
            if removals:
                refused = table.apply(removals)
                errors.update({(table.name, key): error for key, error in refused.items()})
        return errors

    def notice(self, message: object) -> Optional[Notice]:
        """None: what is left over makes no news."""
        return None
