# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the iptables chain FORWARD let flannel traffic through, where the rules proper are made with nftables.

An accept in a table of our own does not overrule the DROP that Docker sets as policy of FORWARD: every table is asked,
and one drop is enough. So, as long as that policy is DROP and no longer, our forward chain stands there, too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Dict, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._subnet import Family

from . import Change, KernelError, Key, Notice
from .iptables import PROGRAMS, Chain, IptablesTable, Programs, SavedTable, save_rules
from .programs import MissingProgram
from .scope import Scope

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opening:
    """That FORWARD lets the network through: by its policy, or else by this chain.

    wrong: as found, when it does not, or when the chain stands there without need.
    """

    chain: Chain
    wrong: bool = False

    @property
    def key(self) -> Key:
        return self.chain.key

    @property
    def device(self) -> str:
        return ""

    def __str__(self) -> str:
        return str(self.chain)


class OpeningTable:
    """FORWARD of iptables in each family for which an opening is given; without iptables there is nothing to open."""

    name = "iptables opening"
    kinds = (Opening,)

    def __init__(
        self, scope: Scope, openings: Sequence[Opening], programs: Mapping[Family, Programs] = PROGRAMS
    ) -> None:
        self._openings = tuple(openings)
        self._programs = programs
        self._chains = IptablesTable(scope, [opening.chain.family for opening in openings], programs)

    def dump(self) -> Dict[Key, Opening]:
        found: Dict[Key, Opening] = {}
        for opening in self._openings:
            saved = self._read_filter(opening.chain.family)
            chain = opening.chain
            wrong = saved is not None and saved.find_chain(chain.family, "filter", chain.name) != _needed(
                chain, saved
            )
            found[opening.key] = replace(opening, wrong=wrong)
        return found

    def owns(self, thing: Opening) -> bool:
        return True

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        made = []
        for change in changes:
            chain: Chain = change.thing.chain
            saved = self._read_filter(chain.family)
            needed = None if saved is None or change.after is None else _needed(chain, saved)
            made.append(Change(chain.key, chain, needed))
        return self._chains.apply(made)

    def notice(self, message: object) -> Optional[Notice]:
        """None, as for all of iptables."""
        return None

    def _read_filter(self, family: Family) -> Optional[SavedTable]:
        """None where there is no such table, or nothing that iptables can read."""
        try:
            return save_rules(family, self._programs).get("filter")
        except MissingProgram:
            return None
        except KernelError as error:
            log.debug("FORWARD of iptables is left alone: %s", error)
            return None


def _needed(chain: Chain, saved: SavedTable) -> Optional[Chain]:
    return chain if saved.policies.get(chain.parent) == "DROP" else None
