# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A slow table delays nobody, and is a table like any other."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass

import pytest
from flanneld.apart import DividedReconciler, WorkedApart
from flanneld.tables import KernelError, Slow

from tests.support.waiting import wait_until

SECONDS = 10.0


@dataclass(frozen=True)
class Quick:
    key: str
    device: str = ""


@dataclass(frozen=True)
class Lazy:
    key: str
    value: int = 0
    device: str = ""


class QuickTable:
    name = "quick"
    kinds = (Quick,)

    def __init__(self):
        self.things = {}

    def dump(self):
        return dict(self.things)

    def owns(self, thing):
        return True

    def apply(self, changes):
        for change in changes:
            if change.after is None:
                self.things.pop(change.key)
            else:
                self.things[change.key] = change.after
        return {}

    def notice(self, message):
        return None


class LazyTable(Slow, QuickTable):
    """Answers when it may."""

    name = "lazy"
    kinds = (Lazy,)

    def __init__(self):
        super().__init__()
        self.may = threading.Event()
        self.fault = None

    def watch(self, wake, stop):
        self.wake = wake

    def dump(self):
        assert self.may.wait(SECONDS)
        if self.fault is not None:
            raise self.fault
        return super().dump()


class Bench:
    def __init__(self):
        self.quick, self.lazy = QuickTable(), LazyTable()
        self.reconciler = DividedReconciler((self.quick, self.lazy))
        self.posts = queue.SimpleQueue()
        self.stop = threading.Event()
        self.thread = threading.Thread(
            target=self.reconciler.work_apart, args=(self.posts.put, self.stop), daemon=True
        )
        self.thread.start()

    def wait(self, condition):
        wait_until(condition, "what the other thread is to bring about")


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.lazy.may.set()
    made.stop.set()
    made.thread.join(SECONDS)
    assert not made.thread.is_alive()


def test_a_table_that_does_not_answer_delays_nobody(bench):
    bench.reconciler.want("peer", [Lazy("a"), Quick("b")])
    bench.reconciler.reconcile()
    assert bench.quick.things == {"b": Quick("b")}
    assert bench.lazy.things == {}
    bench.lazy.may.set()
    bench.wait(lambda: bench.lazy.things == {"a": Lazy("a")})


def test_it_has_figures_problems_and_owners(bench):
    bench.lazy.may.set()
    bench.reconciler.want("peer", [Lazy("a")])
    bench.wait(lambda: [one.wanted for one in bench.reconciler.figures() if one.name == "lazy"] == [1])
    assert bench.reconciler.problems() == {}
    bench.lazy.fault = KernelError("it", "is away", "start it")
    bench.reconciler.mark("lazy")
    bench.wait(
        lambda: [str(error) for error in bench.reconciler.problems().values()] == ["it: is away; start it"]
    )
    assert bench.reconciler.near_problems() == {}


def test_what_failed_is_tried_again_by_itself(bench):
    bench.lazy.may.set()
    bench.lazy.fault = KernelError("it", "is away", "start it")
    bench.reconciler.want("peer", [Lazy("a")])
    bench.wait(bench.reconciler.problems)
    bench.lazy.fault = None
    bench.wait(lambda: not bench.reconciler.problems())
    assert bench.lazy.things == {"a": Lazy("a")}


def test_drift_is_repaired_and_leftovers_go_once_they_may(bench):
    bench.lazy.things = {"old": Lazy("old")}
    bench.lazy.may.set()
    bench.reconciler.want("peer", [Lazy("a", 1)])
    bench.wait(lambda: "a" in bench.lazy.things)
    assert "old" in bench.lazy.things
    bench.reconciler.allow_removal()
    bench.wait(lambda: "old" not in bench.lazy.things)
    bench.lazy.things["a"] = Lazy("a", 2)
    bench.reconciler.mark_all()
    bench.wait(lambda: bench.lazy.things == {"a": Lazy("a", 1)})
    assert [one.repairs for one in bench.reconciler.figures() if one.name == "lazy"] == [1]
    bench.reconciler.forget("peer")
    bench.wait(lambda: bench.lazy.things == {})


def test_its_program_may_wake_it_up_however_often_it_failed(bench):
    bench.lazy.may.set()
    bench.lazy.fault = KernelError("it", "is away", "start it")
    bench.reconciler.want("peer", [Lazy("a")])
    bench.wait(lambda: bench.reconciler.problems() and hasattr(bench.lazy, "wake"))
    for failure in bench.reconciler._far._states[0].failures.values():
        failure.due += 1000
    bench.lazy.fault = None
    bench.lazy.wake()
    bench.wait(lambda: bench.lazy.things == {"a": Lazy("a")})


def test_the_loop_is_told_that_something_has_changed(bench):
    bench.lazy.may.set()
    bench.reconciler.want("peer", [Lazy("a")])
    assert bench.posts.get(timeout=SECONDS) == WorkedApart()


def test_without_slow_tables_nothing_is_ordered():
    table = QuickTable()
    reconciler = DividedReconciler((table,))
    reconciler.want("peer", [Quick("a")])
    reconciler.mark_all()
    assert reconciler._orders.empty()
