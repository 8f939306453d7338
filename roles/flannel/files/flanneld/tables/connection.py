# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections in charon: with whom it has a tunnel, and for which subnets (spec 5.6)."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

from . import Change, KernelError, Key, Notice, Slow
from .charon import Charon
from .policy import REQID
from .refusal import explain_os_error
from .xfrm import dump_spis

IKE_PROPOSAL = "aes256-sha256-modp4096"
_NAME = re.compile(r"[0-9.]+-[0-9.]+/[0-9]+-[0-9.]+/[0-9]+-[0-9.]+")
_AT_ONCE = "-1"  # charon answers and does the work afterwards
_ATTEMPT_SECONDS = 30.0  # an attempt at a tunnel is left alone: on a busy host, another would only delay it


@dataclass(frozen=True)
class Connection:
    """A tunnel between two hosts for their subnets, kept up by both.

    identity: who we say we are, where that is not our address on this host.
    """

    local: IPv4Address
    local_subnet: IPv4Network
    remote_subnet: IPv4Network
    remote: IPv4Address
    esp_proposal: str
    encap: bool = False
    identity: Optional[IPv4Address] = None

    @property
    def key(self) -> Key:
        """Upstream's name for it."""
        return f"{self.local}-{self.local_subnet}-{self.remote_subnet}-{self.remote}"

    @property
    def child(self) -> str:
        return f"{self.local_subnet}-{self.remote_subnet}"

    @property
    def device(self) -> str:
        return ""

    def __str__(self) -> str:
        return f"{self.local_subnet} to {self.remote_subnet} at {self.remote}"

    def make_message(self) -> Dict[str, Any]:
        """What load-conn takes: upstream's, to the word, but for our identity."""
        local: Dict[str, Any] = {"auth": "psk"}
        if self.identity is not None:
            local["id"] = str(self.identity)
        return {
            str(self.key): {
                "version": "2",
                "local_addrs": [str(self.local)],
                "remote_addrs": [str(self.remote)],
                "proposals": [IKE_PROPOSAL],
                "encap": "true" if self.encap else "false",
                "keyingtries": "0",
                "local": local,
                "remote": {"auth": "psk"},
                "children": {
                    self.child: {
                        "local_ts": [str(self.local_subnet)],
                        "remote_ts": [str(self.remote_subnet)],
                        "esp_proposals": [self.esp_proposal],
                        "start_action": "start",
                        "close_action": "trap",
                        "dpd_action": "restart",
                        "mode": "tunnel",
                        "reqid": str(REQID),
                        "rekey_time": "1h",
                        "policies": "no",
                    }
                },
            }
        }


@dataclass(frozen=True)
class FoundConnection:
    """One that is not as a connection of this process: loaded by an earlier one, changed, or without a tunnel.

    idle: it has no tunnel, nor an attempt at one. torn: charon's numbers of tunnels that the kernel has no more.
    """

    name: str
    idle: bool
    torn: Tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return self.name

    def __str__(self) -> str:
        return self.name


class ConnectionTable(Slow):
    """Connections in the charon of this instance.

    A process loads each once, because charon does not tell proposals; it leaves a tunnel alone when nothing is new. One
    without a tunnel, nor an attempt at one, is not as it should be: charon does not try again when the other side has
    said no, nor does it notice when somebody takes its states from the kernel (ip xfrm state flush).
    """

    name = "ipsec connection"
    kinds = (Connection,)

    def __init__(self, charon: Charon, clock: Callable[[], float] = time.monotonic) -> None:
        self._charon = charon
        self._clock = clock
        self._loaded: Dict[Key, Connection] = {}
        self._begun: Dict[Key, float] = {}

    def dump(self) -> Dict[Key, Union[Connection, FoundConnection]]:
        spis = _read_spis()
        with self._charon.ask("IPsec connections") as session:
            shown = {name: conn for event in session.list_conns() for name, conn in event.items()}
            sas = list(session.list_sas())
        # read before and after: tunnels are renewed meanwhile
        alive, torn = _judge_tunnels(sas, spis | _read_spis())
        now = self._clock()
        found: Dict[Key, Union[Connection, FoundConnection]] = {}
        for name, conn in shown.items():
            loaded = self._loaded.get(name)
            works = name in alive or self._begun.get(name, -_ATTEMPT_SECONDS) + _ATTEMPT_SECONDS > now
            if loaded is not None and works and _fits(loaded, conn):
                found[name] = loaded
            else:
                found[name] = FoundConnection(name, not works, torn.get(name, ()))
        return found

    def owns(self, thing: Union[Connection, FoundConnection]) -> bool:
        return _NAME.fullmatch(str(thing.key)) is not None

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        return self._charon.apply(self.name, changes, self._apply_one)

    def _apply_one(self, session: Any, change: Change) -> None:
        self._loaded.pop(change.key, None)
        self._begun.pop(change.key, None)
        if change.after is None:
            session.unload_conn({"name": str(change.key)})
            return
        wanted: Connection = change.after
        session.load_conn(wanted.make_message())
        tunnel = {"ike": str(wanted.key), "child": wanted.child, "timeout": _AT_ONCE, "loglevel": "-1"}
        if isinstance(change.before, FoundConnection) and change.before.idle:
            for number in change.before.torn:
                list(session.terminate({"child-id": number, "timeout": _AT_ONCE, "loglevel": "-1"}))
            list(session.initiate(tunnel))
            self._begun[change.key] = self._clock()
        self._loaded[change.key] = wanted

    def notice(self, message: object) -> Optional[Notice]:
        """None: charon is asked."""
        return None

    def watch(self, wake: Callable[[], None], stop: threading.Event) -> None:
        """A charon that was started again knows nothing, neither connections nor keys."""
        self._charon.watch(wake, stop)


class FormerConnectionTable(ConnectionTable):
    """Those of a backend that this network does not have any more: nothing is left when charon does not run."""

    def dump(self) -> Dict[Key, Union[Connection, FoundConnection]]:
        return {} if self._charon.is_absent() else super().dump()

    def watch(self, wake: Callable[[], None], stop: threading.Event) -> None:
        """Not: nobody waits for it."""


def _read_spis() -> FrozenSet[str]:
    """Raises KernelError."""
    try:
        return dump_spis()
    except OSError as error:
        raise explain_os_error("IPsec states", error) from error


def _judge_tunnels(
    events: Iterable[Mapping[str, Any]], spis: FrozenSet[str]
) -> Tuple[Set[str], Dict[str, Tuple[str, ...]]]:
    """Names of connections that have a tunnel or are about to; by name, charon's numbers of tunnels that the kernel has
    not."""
    alive: Set[str] = set()
    torn: Dict[str, Tuple[str, ...]] = {}
    for event in events:
        for name, state in event.items():
            tunnels = list(state.get("child-sas", {}).values())
            fallen = [tunnel for tunnel in tunnels if not _stands(tunnel, spis)]
            if state.get("state") == b"CONNECTING" or len(fallen) < len(tunnels):
                alive.add(name)
            if fallen:
                numbers = (tunnel.get("uniqueid", b"").decode() for tunnel in fallen)
                torn[name] = (*torn.get(name, ()), *numbers)
    return alive, torn


def _stands(tunnel: Mapping[str, bytes], spis: FrozenSet[str]) -> bool:
    """The kernel has both directions, or charon is making or ending it just now."""
    ends = {tunnel.get("spi-in", b"").decode(), tunnel.get("spi-out", b"").decode()}
    return tunnel.get("state") != b"INSTALLED" or ends <= spis


def _fits(wanted: Connection, shown: Mapping[str, Any]) -> bool:
    """What charon tells of a connection is what we loaded."""
    children: Mapping[str, Mapping[str, List[bytes]]] = shown.get("children", {})
    child = children.get(wanted.child, {})
    return (shown.get("local_addrs"), shown.get("remote_addrs"), list(children)) == (
        [str(wanted.local).encode()],
        [str(wanted.remote).encode()],
        [wanted.child],
    ) and (child.get("local-ts"), child.get("remote-ts")) == (
        [str(wanted.local_subnet).encode()],
        [str(wanted.remote_subnet).encode()],
    )
