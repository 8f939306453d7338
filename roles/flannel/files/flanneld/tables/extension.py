# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands of the network config have done (spec 5.8): a table whose objects only its own record can list.

A command may take long, so they run one after the other in a thread of their own; the record is written before a
command begins and after it has ended, so that what it may have done is undone, whatever ends the agent in between.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Callable, Collection, Dict, Mapping, Optional, Protocol, Sequence, Tuple

from . import Change, KernelError, Key, News, Notice, Pending
from .commands import CommandError, run_command

log = logging.getLogger(__name__)

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
_REMOVALS = 5
"""So often is SubnetRemoveCommand tried; what it is to remove may be gone already."""
_WRITE_SECONDS = 1.0
"""At most so often is the record written while commands run: it is written whole."""
_POLL_SECONDS = 0.5
_QUOTED = 300

Run = Callable[[str, str, Mapping[str, str], str], str]
"""As run_command."""


@dataclass(frozen=True)
class Hook:
    """A command that is run once in each life of the agent, and what undoes it.

    name: key of the peer's lease; NODE for PostStartupCommand. command, undo: as the network config has them, "" for
    none. variables, data: what either gets. life: of the agent that ran it. done: it has ended without error.
    """

    name: str
    command: str
    undo: str
    variables: Tuple[Tuple[str, str], ...]
    data: str = field(default="", repr=False)
    life: str = ""
    done: bool = True

    @property
    def key(self) -> Key:
        return self.name

    @property
    def device(self) -> str:
        """None: what a command has to do with devices, nobody knows."""
        return ""

    def __str__(self) -> str:
        return self.name or "of this host"


NODE = ""


class Record(Protocol):
    """Where hooks are kept over the agent's lives. Neither method raises."""

    def recall_hooks(self) -> Tuple[Hook, ...]:
        """Those of the life before; none if there was none."""

    def remember_hooks(self, hooks: Sequence[Hook]) -> None:
        """For the next life."""


class _NoRecord:
    """Of a host that has none."""

    def recall_hooks(self) -> Tuple[Hook, ...]:
        return ()

    def remember_hooks(self, hooks: Sequence[Hook]) -> None:
        """Nothing is kept."""


NO_RECORD: Record = _NoRecord()


@dataclass
class _Job:
    """state: how it stands, for people. due: by the monotonic clock."""

    change: Change
    attempts: int = 0
    delay: float = 0.0
    due: float = 0.0
    state: str = "its command has not ended yet"


class ExtensionTable:
    """The hooks in the record. `work` is run by a thread of its own, everything else by the reconciler's."""

    name = "extension"
    kinds = (Hook,)

    def __init__(self, record: Record, run: Run = run_command) -> None:
        self._record = record
        self._run = run
        self._lock = threading.Condition()
        self._hooks: Optional[Dict[Key, Hook]] = None
        self._jobs: Dict[Key, _Job] = {}
        self._unwritten = False
        self._write_at = 0.0

    # --- for the reconciler

    def dump(self) -> Dict[Key, Hook]:
        with self._lock:
            return dict(self._load())

    def owns(self, thing: Hook) -> bool:
        return True

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        """Hand them to the thread; the newest change of a key replaces one that waits. All are pending then."""
        errors: Dict[Key, KernelError] = {}
        with self._lock:
            for change in changes:
                job = self._jobs.get(change.key)
                if job is None or job.change.after != change.after:
                    job = self._jobs[change.key] = _Job(change)
                    self._note_begun(change)
                errors[change.key] = Pending(f"{self.name} {change.thing}", job.state, "wait for it")
            self._lock.notify()
        return errors

    def _note_begun(self, change: Change) -> None:
        """What may soon have been done in part is to be undone, too. Written before the next command begins."""
        if change.after is not None:
            self._load()[change.key] = replace(change.after, done=False)
            self._unwritten, self._write_at = True, 0.0

    def notice(self, message: object) -> Optional[Notice]:
        if not isinstance(message, News) or message.table != self.name:
            return None
        with self._lock:
            return Notice(message.key, self._load().get(message.key))

    # --- the thread

    def work(self, post: Callable[[object], None], stop: threading.Event) -> None:
        """Run what is due until told to stop, and tell of each when something has come of it."""
        while not stop.is_set():
            self._write_if_due()
            with self._lock:
                if self._unwritten and self._write_at == 0.0:
                    continue  # more has been handed over meanwhile
                job = self._take_due()
                if job is None:
                    self._lock.wait(_POLL_SECONDS)
                    continue
            error = self._do(job.change)
            with self._lock:
                news = self._finish(job, error)
            if news:
                post(News(self.name, job.change.key))
        self._write_at = 0.0
        self._write_if_due()

    def _take_due(self) -> Optional[_Job]:
        """Nothing of a peer's before this host's own, which it builds upon."""
        waiting: Collection[_Job] = [self._jobs[NODE]] if NODE in self._jobs else self._jobs.values()
        now = time.monotonic()
        return next((job for job in waiting if job.due <= now), None)

    def _do(self, change: Change) -> Optional[CommandError]:
        hook: Hook = change.thing
        if change.after is None:
            what, command = "SubnetRemoveCommand", hook.undo
        else:
            what, command = ("PostStartupCommand" if hook.key == NODE else "SubnetAddCommand"), hook.command
        if not command:
            return None
        try:
            output = self._run(f"{what} {hook}", command, dict(hook.variables), hook.data)
        except CommandError as error:
            return error
        log.info("%s %s: done%s", what, hook, f": {output[:_QUOTED]}" if output else "")
        return None

    def _finish(self, job: _Job, error: Optional[CommandError]) -> bool:
        """Keep what came of it; True if that is news."""
        key, after = job.change.key, job.change.after
        job.attempts += 1
        if error is not None and after is None and job.attempts >= _REMOVALS:
            log.error("%s; given up after %d attempts", error, job.attempts)
        elif error is not None:
            job.delay = min(2 * job.delay, LONGEST_DELAY) or FIRST_DELAY
            job.due = time.monotonic() + job.delay
            state = f"{error.cause}; it is tried again"
            news, job.state = state != job.state, state
            if news:
                log.error("%s", error)
            return news
        if after is None:
            self._load().pop(key, None)
        else:
            self._load()[key] = after
        self._unwritten = True
        if self._jobs.get(key) is job:
            del self._jobs[key]
        return True

    # --- the record

    def _load(self) -> Dict[Key, Hook]:
        if self._hooks is None:
            self._hooks = {hook.key: hook for hook in self._record.recall_hooks()}
        return self._hooks

    def _write_if_due(self) -> None:
        """Without the lock while the disk works: the reconciler does not wait for it."""
        now = time.monotonic()
        with self._lock:
            if not self._unwritten or self._write_at > now:
                return
            self._unwritten, self._write_at = False, now + _WRITE_SECONDS
            hooks = tuple(self._load().values())
        self._record.remember_hooks(hooks)
