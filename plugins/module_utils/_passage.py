# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""What a firewall manager of a host is asked for, and what has to be done about it, whichever manager it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple, Union

from ansible_collections.weft.flannel.plugins.module_utils._openings import Opening
from ansible_collections.weft.flannel.plugins.module_utils._subnet import Address, Network


@dataclass(frozen=True)
class Passage:
    """Packets that are let through: those of a host (or of a network of hosts) that come in by an opening, or those
    that are forwarded and come from a network (source) or go to one (destination)."""

    host: Union[Address, Network, None] = None
    opening: Optional[Opening] = None
    source: Optional[Network] = None
    destination: Optional[Network] = None


@dataclass(frozen=True)
class Plan:
    """before, after: what stands under our name, in the words of the manager; commands: what leads from one to the
    other. None are needed where both are the same."""

    before: Tuple[str, ...]
    after: Tuple[str, ...]
    commands: Tuple[Tuple[str, ...], ...]

    @property
    def needed(self) -> bool:
        return self.before != self.after


def join_plans(plans: Sequence[Plan]) -> Plan:
    """All of them, one after the other."""
    return Plan(
        tuple(line for plan in plans for line in plan.before),
        tuple(line for plan in plans for line in plan.after),
        tuple(command for plan in plans for command in plan.commands),
    )
