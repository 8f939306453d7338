# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a table is: one kind of object that exists on the host, which can be listed and changed.

The reconciler knows tables only through this file. Objects are frozen dataclasses with two properties:

    key      identifies the object within its table; two objects with the same key cannot coexist on the host
    device   name of the network device it hangs on, "" if none; an event on that device makes it suspect

An object holds only what we own of the real thing: equality means "nothing to do".
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import (
    Any,
    Callable,
    Dict,
    Hashable,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    runtime_checkable,
)

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError

from flanneld.udp.counts import Counts

Key = Hashable


class KernelError(FlannelError):
    """The kernel refused an operation on one object. `errno` is 0 where there is none."""

    def __init__(self, subject: str, cause: str, next_step: str, errno: int = 0) -> None:
        super().__init__(subject, cause, next_step)
        self.errno = errno


class Pending(KernelError):
    """Not done yet, and not refused: the table works on it in a thread of its own, tries again by itself, and tells by
    News when something has come of it. The cause says how it stands."""


class Object(Protocol):
    """What the reconciler needs to know about anything that exists on a host."""

    @property
    def key(self) -> Key:
        """Identifies the object within its table."""

    @property
    def device(self) -> str:
        """The network device it hangs on, "" if none."""


@dataclass(frozen=True)
class Change:
    """One object that is not as it should be. before None: create; after None: remove; both: bring before to after."""

    key: Key
    before: Optional[Any]
    after: Optional[Any]

    @property
    def thing(self) -> Any:
        """The object it is about, to be named in logs and errors: as it should be, or as it was if it is to go."""
        return self.before if self.after is None else self.after


@dataclass(frozen=True)
class Notice:
    """What one kernel notification says about one object: its present state, None when it is gone.

    device: set when the notification is about a device, or about an address on it. Then everything that hangs on the
    device is suspect, because the kernel drops routes with a link or an address without announcing it.
    """

    key: Key
    current: Optional[Any]
    device: str = ""


@dataclass(frozen=True)
class News:
    """Something has come of a pending change, in the thread of its table."""

    table: str
    key: Key


class Slow:
    """Base of a table whose dump() and apply() another program answers, late or never: it gets a reconciler and a
    thread of its own (apart.py)."""

    def watch(self, wake: Callable[[], None], stop: threading.Event) -> None:
        """Call wake whenever everything may be another than before, until stop is set; or return at once, and be read
        periodically only. Runs in a thread of its own."""


class OnUnderlay:
    """Base of a table of what is attached to the external interface: it is read again whenever that changes, since not
    everything is announced by itself."""


class Table(Protocol):
    """Objects of one kind, or of several that share their keys.

    Tables are applied in the order they are handed to the reconciler, removed in reverse.
    """

    @property
    def name(self) -> str:
        """What the log calls it."""

    @property
    def kinds(self) -> Tuple[type, ...]:
        """The classes of its objects."""

    def dump(self) -> Dict[Key, Any]:
        """All objects of this kind that exist now, ours and others'. Raises KernelError when they cannot be read."""

    def owns(self, thing: Any) -> bool:
        """True if an object that nobody wants may be removed: it is recognisably ours."""

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        """Make the changes; one that fails does not stop the others. An object already gone counts as removed."""

    def notice(self, message: Any) -> Optional[Notice]:
        """What a kernel notification means for this table; None when it is about something else."""


@dataclass(frozen=True)
class Datapath:
    """What forwards for the backend udp: "kernel" or "user"; and why that one, "" where nothing had to be decided.

    joining: TCP packets that arrive are joined, before they go on to containers; and why, or why not. early: the driver
    of the network card takes in packets; and why not, or what it was asked for.
    """

    name: str
    why: str
    joining: bool = False
    why_joining: str = ""
    early: bool = False
    why_early: str = ""


@runtime_checkable
class Forwarder(Protocol):
    """A table whose objects forward packets for this process, and count them."""

    def read_counts(self) -> Counts:
        """As they are now."""

    def read_datapath(self) -> Datapath:
        """As it is now."""


@runtime_checkable
class Worker(Protocol):
    """A table whose changes take long: they are pending at first."""

    @property
    def name(self) -> str:
        """What status calls it."""

    def work(self, post: Callable[[object], None], stop: threading.Event) -> None:
        """The body of its thread, until told to stop. post: takes News from any thread."""
