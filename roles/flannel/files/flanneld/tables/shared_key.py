# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys in charon that hosts prove themselves with (spec 5.6). Charon tells that it has a key, not which."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Dict, Mapping, Optional, Sequence, Union

from . import Change, KernelError, Key, Notice, Slow
from .charon import Charon

_PREFIX = "flannel "


@dataclass(frozen=True)
class SharedKey:
    """A pre-shared key that the host with this public address proves itself with. The key shows in no text."""

    owner: IPv4Address
    secret: str = field(repr=False)

    @property
    def key(self) -> Key:
        return f"{_PREFIX}{self.owner}"

    @property
    def device(self) -> str:
        return ""

    def __str__(self) -> str:
        return f"of {self.owner}"


@dataclass(frozen=True)
class FoundKey:
    """One that this process has not loaded: under a name, and no more is known."""

    name: str

    @property
    def key(self) -> Key:
        return self.name

    def __str__(self) -> str:
        return self.name


class SharedKeyTable(Slow):
    """Keys in the charon of this instance. A process loads each once, because it cannot see which key it is."""

    name = "ipsec key"
    kinds = (SharedKey,)

    def __init__(self, charon: Charon) -> None:
        self._charon = charon
        self._loaded: Dict[Key, SharedKey] = {}

    def dump(self) -> Dict[Key, Union[SharedKey, FoundKey]]:
        with self._charon.ask("IPsec keys") as session:
            names = [name.decode("utf-8", "replace") for name in session.get_shared().get("keys", ())]
        return {name: self._loaded.get(name) or FoundKey(name) for name in names}

    def owns(self, thing: Union[SharedKey, FoundKey]) -> bool:
        return str(thing.key).startswith(_PREFIX)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        return self._charon.apply(self.name, changes, self._apply_one)

    def _apply_one(self, session: Any, change: Change) -> None:
        self._loaded.pop(change.key, None)
        if change.after is None:
            session.unload_shared({"id": str(change.key)})
            return
        wanted: SharedKey = change.after
        session.load_shared(
            {"id": str(wanted.key), "type": "IKE", "data": wanted.secret, "owners": [str(wanted.owner)]}
        )
        self._loaded[change.key] = wanted

    def notice(self, message: object) -> Optional[Notice]:
        """None: charon is asked."""
        return None


class FormerSharedKeyTable(SharedKeyTable):
    """Those of a backend that this network does not have any more: nothing is left when charon does not run."""

    def dump(self) -> Dict[Key, Union[SharedKey, FoundKey]]:
        return {} if self._charon.is_absent() else super().dump()
