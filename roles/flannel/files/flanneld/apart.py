# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One reconciler to look at, two that work: tables that another program answers have one, and a thread, of their own.

So a program that is slow, or away, delays nobody, and a slow table is a table like any other: the same differences,
the same back-off, the same words in the log. The threads share no state: orders go one way through a queue, and a
picture of how things are comes back.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Callable, Hashable, Iterable, List, Mapping, Optional, Sequence, Tuple

from .reconciler import Figures, Reconciler
from .tables import KernelError, Key, Object, Slow, Table

_STOP_SECONDS = 0.5  # how late the thread may notice that it should stop


@dataclass(frozen=True)
class WorkedApart:
    """Slow tables are in another state than before."""


@dataclass(frozen=True)
class _Picture:
    """Of a reconciler that another thread works with."""

    figures: Tuple[Figures, ...] = ()
    problems: Mapping[Tuple[str, Key], KernelError] = field(default_factory=dict)
    problems_by_owner: Mapping[Hashable, KernelError] = field(default_factory=dict)


class DividedReconciler:
    """What Reconciler is, for tables of which some are Slow. Those are served while `work_apart` runs.

    Used by one thread; another runs `work_apart`.
    """

    def __init__(self, tables: Sequence[Table], clock: Callable[[], float] = time.monotonic) -> None:
        slow = [table for table in tables if isinstance(table, Slow)]
        self._slow: Sequence[Slow] = slow
        self._near = Reconciler([table for table in tables if not isinstance(table, Slow)], clock)
        self._far = Reconciler(slow, clock)
        self._slow_names = frozenset(table.name for table in slow)
        self._slow_kinds = tuple(kind for table in slow for kind in table.kinds)
        self._clock = clock
        self._orders: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._picture = _Picture(self._far.figures())

    @property
    def is_divided(self) -> bool:
        """There are slow tables: somebody has to run `work_apart`."""
        return bool(self._slow_names)

    # --- what Reconciler has

    def want(self, owner: Hashable, objects: Iterable[Object]) -> None:
        if not self.is_divided:  # as a rule
            self._near.want(owner, objects)
            return
        near: List[Object] = []
        far: List[Object] = []
        for thing in objects:
            (far if isinstance(thing, self._slow_kinds) else near).append(thing)
        self._near.want(owner, near)
        self._order(self._far.want, owner, far)

    def forget(self, owner: Hashable) -> None:
        self.want(owner, ())

    def allow_removal(self) -> None:
        self._near.allow_removal()
        self._order(self._far.allow_removal)

    def note(self, message: object) -> None:
        """Kernel notifications say nothing about slow tables."""
        self._near.note(message)

    def mark(self, table: str) -> None:
        if table in self._slow_names:
            self._order(self._far.mark, table)
        else:
            self._near.mark(table)

    def mark_all(self) -> None:
        self._near.mark_all()
        self._order(self._far.mark_all)

    def reconcile(self) -> Optional[float]:
        """As in Reconciler, for all but the slow tables."""
        return self._near.reconcile()

    def problems(self) -> Mapping[Tuple[str, Key], KernelError]:
        return {**self._near.problems(), **self._picture.problems}

    def near_problems(self) -> Mapping[Tuple[str, Key], KernelError]:
        """Those of the tables that do not depend on another program."""
        return self._near.problems()

    def problems_by_owner(self) -> Mapping[Hashable, KernelError]:
        return {**self._picture.problems_by_owner, **self._near.problems_by_owner()}

    def figures(self) -> Tuple[Figures, ...]:
        return (*self._near.figures(), *self._picture.figures)

    # --- the other thread

    def work_apart(self, post: Callable[[object], None], stop: threading.Event) -> None:
        """Serve the slow tables until stop is set; post WorkedApart when that changed something."""
        for table in self._slow:
            # daemon: one that its program keeps waiting must not keep the agent from ending
            threading.Thread(target=table.watch, args=(self._wake_up, stop), daemon=True).start()
        due: Optional[float] = None
        while not stop.is_set():
            wait = _STOP_SECONDS if due is None else min(_STOP_SECONDS, max(0.0, due - self._clock()))
            ordered = self._follow_orders(wait)
            if not ordered and (due is None or self._clock() < due):
                continue
            retry = self._far.reconcile()
            due = None if retry is None else self._clock() + retry
            picture = _Picture(self._far.figures(), self._far.problems(), self._far.problems_by_owner())
            if picture != self._picture:
                self._picture = picture
                post(WorkedApart())

    def _wake_up(self) -> None:
        self._order(self._far.mark_all)

    def _order(self, what: Callable[..., object], *arguments: object) -> None:
        if self._slow_names:
            self._orders.put(functools.partial(what, *arguments))

    def _follow_orders(self, wait: float) -> bool:
        """Take in all that was ordered; False if nothing came."""
        ordered = False
        with contextlib.suppress(queue.Empty):
            self._orders.get(timeout=wait)()
            ordered = True
            while True:
                self._orders.get_nowait()()
        return ordered
