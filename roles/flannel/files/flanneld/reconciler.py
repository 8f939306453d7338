# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the host what it should be: wanted objects on one side, tables on the other, and nothing else known.

Wanted objects belong to owners (a peer, this host itself). What exists is learned by dumping a table, from
notifications, and from what our own changes brought. The difference is applied: what is missing or wrong in the order
of the tables, then what is left over in the reverse order. An event costs what it changes, never a look at everything,
unless it is about a device that something wanted hangs on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Hashable, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from .tables import Change, KernelError, Key, Notice, Object, Pending, Table

log = logging.getLogger(__name__)

WHOLE_TABLE: Key = ""
"""The key, in problems(), of a table that could not be read."""

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
_LOGGED_SINGLY = 10
_NEVER = float("inf")

_Place = Tuple[str, Key]  # table name, key


@dataclass(frozen=True)
class Figures:
    """One table in numbers. wrong: missing, different, or left over. repairs: since the start."""

    name: str
    wanted: int
    wrong: int
    problems: int
    repairs: int


@dataclass
class _Failure:
    error: KernelError
    delay: float
    due: float


@dataclass
class _TableState:
    """What the reconciler knows about one table.

    actual: what exists as far as we know, of all that is wanted or ours.
    suspects: wanted keys whose actual object may be another (in order; no values). leftovers: keys of actual that
    nobody wants. drift: suspects that had been right, and how they are not any more.
    seen: the last notification about a device or address, to tell a change from a repetition.
    """

    table: Table
    dump_due: bool = True
    wanted: Dict[Key, Object] = field(default_factory=dict)
    actual: Dict[Key, Any] = field(default_factory=dict)
    suspects: Dict[Key, None] = field(default_factory=dict)
    leftovers: Set[Key] = field(default_factory=set)
    drift: Dict[Key, str] = field(default_factory=dict)
    failures: Dict[Key, _Failure] = field(default_factory=dict)
    seen: Dict[Key, Any] = field(default_factory=dict)

    def set_wanted(self, key: Key, thing: Optional[Object]) -> None:
        """What should exist under a key from now on, None for nothing."""
        if thing is None:
            self.wanted.pop(key, None)
            self.suspects.pop(key, None)
        else:
            self.wanted[key] = thing
            self.suspects[key] = None
        self.drift.pop(key, None)
        self.failures.pop(key, None)
        self._sort_leftover(key)

    def learn(self, key: Key, current: Any) -> None:
        """What exists under a key now, None for nothing."""
        if key in self.wanted:
            current = self._compare(key, current)
        if current is not None and (key in self.wanted or self.table.owns(current)):
            self.actual[key] = current
        else:
            self.actual.pop(key, None)
        self._sort_leftover(key)

    def learn_all(self, current: Mapping[Key, Any]) -> None:
        """What exists now, everything."""
        compared = ((key, self._compare(key, current.get(key))) for key in self.wanted)
        actual = {key: thing for key, thing in compared if thing is not None}
        self.leftovers = {key for key in current.keys() - self.wanted.keys() if self.table.owns(current[key])}
        actual.update((key, current[key]) for key in self.leftovers)
        self.actual = actual
        solved = self.failures.keys() - self.suspects.keys() - self.leftovers
        for key in solved:
            del self.failures[key]

    def _compare(self, key: Key, current: Any) -> Any:
        """What exists is as it should be, or suspect. Returns it; of two equal objects the one that is wanted, because
        one of each takes half the memory of two."""
        wanted = self.wanted[key]
        if current == wanted:
            self.suspects.pop(key, None)
            self.drift.pop(key, None)
            return wanted
        if key not in self.suspects and self.actual.get(key) == wanted:
            self.drift[key] = "was missing, put back" if current is None else "was changed, put right"
        self.suspects[key] = None
        return current

    def _sort_leftover(self, key: Key) -> None:
        if key in self.actual and key not in self.wanted:
            self.leftovers.add(key)
        else:
            self.leftovers.discard(key)

    def suspect_all(self, now: float) -> None:
        """Anything may be another than before, also whether the table can be read."""
        self.dump_due = True
        if WHOLE_TABLE in self.failures:
            self.failures[WHOLE_TABLE].due = min(self.failures[WHOLE_TABLE].due, now)

    def is_due(self, key: Key, now: float) -> bool:
        """False while an earlier failure asks to wait."""
        failure = self.failures.get(key)
        return failure is None or failure.due <= now

    def fail(self, key: Key, error: KernelError, now: float) -> bool:
        """Note a failure; True if it says something new. What is pending is not tried again: the table tells."""
        before = self.failures.get(key)
        if isinstance(error, Pending):
            self.failures[key] = _Failure(error, FIRST_DELAY, _NEVER)
            return False
        delay = FIRST_DELAY if before is None else min(2 * before.delay, LONGEST_DELAY)
        self.failures[key] = _Failure(error, delay, now + delay)
        return before is None or str(before.error) != str(error)


class Reconciler:
    """Used by one thread. Tables come in the order in which objects build upon each other: devices first.

    repairs counts, by table, the objects that had been right, were found wrong, and are right again.
    """

    def __init__(self, tables: Sequence[Table], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states = tuple(_TableState(table) for table in tables)
        self._by_name = {state.table.name: state for state in self._states}
        self._by_kind = {kind: state for state in self._states for kind in state.table.kinds}
        self._owned: Dict[Hashable, Dict[_Place, Object]] = {}
        self._owners: Dict[_Place, Tuple[Hashable, ...]] = {}
        self._devices: Counter[Hashable] = Counter()
        self._may_remove = False
        self.repairs: Counter[str] = Counter()

    # --- what should be

    def want(self, owner: Hashable, objects: Iterable[Object]) -> None:
        """Replace what this owner wants. Several may want equal objects; of unequal ones the first owner's counts."""
        old = self._owned.get(owner, {})
        new = {(self._by_kind[type(thing)].table.name, thing.key): thing for thing in objects}
        self._owned[owner] = new
        for place in old.keys() - new.keys():
            self._owners[place] = tuple(other for other in self._owners[place] if other != owner)
            self._settle_owner(place)
        for place in new:
            owners = self._owners.get(place, ())
            if owner not in owners:
                self._owners[place] = (*owners, owner)
            self._settle_owner(place)
        if not new:
            del self._owned[owner]

    def forget(self, owner: Hashable) -> None:
        """This owner wants nothing any more."""
        self.want(owner, ())

    def allow_removal(self) -> None:
        """From now on what is ours and wanted by nobody is removed. Before, nothing ever is."""
        if not self._may_remove:
            self._may_remove = True
            self.mark_all()

    def _settle_owner(self, place: _Place) -> None:
        name, key = place
        state = self._by_name[name]
        owners = self._owners[place]
        if not owners:
            del self._owners[place]
        before = state.wanted.get(key)
        after = self._owned[owners[0]][place] if owners else None
        if before is not None:
            self._devices[before.device] -= 1
        if after is not None:
            self._devices[after.device] += 1
        state.set_wanted(key, after)

    def _hangs_on(self, device: Hashable) -> bool:
        return bool(device) and self._devices[device] > 0

    # --- what is

    def note(self, message: object) -> None:
        """Take in a notification of the kernel."""
        for state in self._states:
            notice = state.table.notice(message)
            if notice is not None:
                self._take(state, notice)
                return

    def mark(self, table: str) -> None:
        """Everything in this table may have changed."""
        self._by_name[table].suspect_all(self._clock())

    def mark_all(self) -> None:
        """Everything may have changed."""
        for state in self._states:
            state.suspect_all(self._clock())
            state.seen.clear()

    def _take(self, state: _TableState, notice: Notice) -> None:
        if self._hangs_on(notice.device) or (notice.device and notice.key in state.wanted):
            self._suspect_device(state, notice)
        else:
            failure = state.failures.get(notice.key)
            if failure is not None and isinstance(failure.error, Pending):
                del state.failures[notice.key]
            state.learn(notice.key, notice.current)

    def _suspect_device(self, state: _TableState, notice: Notice) -> None:
        """A device that matters, or an address on it, has changed: the kernel may have dropped anything on it silently.

        The notice itself is not believed, because a device in the making passes through states that are not drift.
        """
        if notice.key in state.seen and state.seen[notice.key] == notice.current:
            return  # repeated, as addresses are with every router advertisement
        state.seen[notice.key] = notice.current
        now = self._clock()
        for other in self._states:
            other.dump_due = True
            for failure in other.failures.values():
                failure.due = min(failure.due, now)

    # --- making it so

    def reconcile(self) -> Optional[float]:
        """Do what is due. Returns the seconds until something is due again, None if nothing is."""
        now = self._clock()
        for number, state in enumerate(self._states):
            self._read(state, now)
            if self._bring_in(state, now):
                for later in self._states[number + 1 :]:
                    later.dump_due = True
        if self._may_remove:
            for state in reversed(self._states):
                self._take_out(state, now)
        dues = [failure.due for state in self._states for failure in state.failures.values()]
        due = min(dues, default=_NEVER)
        return None if due == _NEVER else max(0.0, due - self._clock())

    def problems(self) -> Mapping[Tuple[str, Key], KernelError]:
        """By table and key, what could not be brought right, and the last reason why."""
        return {
            (state.table.name, key): failure.error
            for state in self._states
            for key, failure in state.failures.items()
        }

    def problems_by_owner(self) -> Mapping[Hashable, KernelError]:
        """One reason for each owner who wants something that could not be brought right."""
        return {
            owner: error for place, error in self.problems().items() for owner in self._owners.get(place, ())
        }

    def figures(self) -> Tuple[Figures, ...]:
        """How many objects there are, in the order of the tables."""
        return tuple(
            Figures(
                name=state.table.name,
                wanted=len(state.wanted),
                wrong=len(state.suspects) + (len(state.leftovers) if self._may_remove else 0),
                problems=len(state.failures),
                repairs=self.repairs[state.table.name],
            )
            for state in self._states
        )

    @property
    def settled(self) -> bool:
        """True if, as far as we know, everything wanted exists, and what may be removed is gone."""
        return not any(
            state.dump_due or state.suspects or state.failures or (self._may_remove and state.leftovers)
            for state in self._states
        )

    def _read(self, state: _TableState, now: float) -> None:
        """Dump the table if it is due, or if something is to be tried again: what failed is known least."""
        if any(failure.due <= now for failure in state.failures.values()):
            state.dump_due = True
        if not state.dump_due or not state.is_due(WHOLE_TABLE, now):
            return
        try:
            current = state.table.dump()
        except KernelError as error:
            if state.fail(WHOLE_TABLE, error, now):
                log.error("%s", error)
            return
        state.dump_due = False
        state.learn_all(current)

    def _bring_in(self, state: _TableState, now: float) -> bool:
        """Create and change what is wanted; True if a device was among it."""
        if WHOLE_TABLE in state.failures:
            return False
        changes: List[Change] = []
        for key in list(state.suspects):
            change = Change(key, state.actual.get(key), state.wanted[key])
            if change.before == change.after:
                del state.suspects[key]
            elif state.is_due(key, now):
                changes.append(change)
        drift = [(change, state.drift[change.key]) for change in changes if change.key in state.drift]
        errors = self._apply(state, changes, now)
        repaired = [f"{state.table.name} {c.after}: {how}" for c, how in drift if c.key not in errors]
        self.repairs[state.table.name] += len(repaired)
        _log_each(logging.INFO, state.table.name, repaired)
        return any(self._hangs_on(change.key) for change in changes)

    def _take_out(self, state: _TableState, now: float) -> None:
        """Remove what is ours and nobody wants."""
        if WHOLE_TABLE in state.failures:
            return
        changes = [Change(key, state.actual[key], None) for key in state.leftovers if state.is_due(key, now)]
        lines = [f"{state.table.name} {change.thing}: nobody wants it, removing it" for change in changes]
        _log_each(logging.INFO, state.table.name, lines)
        self._apply(state, changes, now)

    def _apply(self, state: _TableState, changes: Sequence[Change], now: float) -> Mapping[Key, KernelError]:
        if not changes:
            return {}
        errors = state.table.apply(changes)
        for change in changes:
            if change.key not in errors:
                state.failures.pop(change.key, None)
                state.learn(change.key, change.after)
        news = [str(error) for key, error in errors.items() if state.fail(key, error, now)]
        _log_each(logging.WARNING, state.table.name, news)
        return errors


def _log_each(level: int, table: str, lines: List[str]) -> None:
    """A line for each, but not thousands: a link that flaps takes all routes with it."""
    for line in lines[:_LOGGED_SINGLY]:
        log.log(level, "%s", line)
    if len(lines) > _LOGGED_SINGLY:
        log.log(level, "%s: the same for %d more", table, len(lines) - _LOGGED_SINGLY)
