# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reconciler on small tables in memory: a host whose state the tests can see and spoil."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import pytest
from flanneld.reconciler import FIRST_DELAY, LONGEST_DELAY, WHOLE_TABLE, Reconciler
from flanneld.tables import Change, KernelError, Key, Notice, Pending


@dataclass(frozen=True)
class Link:
    name: str
    mtu: int = 1450
    device: str = "eth0"

    @property
    def key(self) -> Key:
        return self.name

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Route:
    name: str
    via: str = "peer"
    device: str = "flannel.1"
    ours: bool = True

    @property
    def key(self) -> Key:
        return self.name

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Event:
    """What a host says when it changes."""

    table: str
    notice: Notice


@dataclass
class Memory:
    """A table. things: what exists on the host. refused: keys it takes no change of. slow: keys whose changes it does
    later, and what they are to become. log: every call, of all tables."""

    name: str
    kinds: Tuple[type, ...]
    log: List[str]
    things: Dict[Key, Any] = field(default_factory=dict)
    refused: Set[Key] = field(default_factory=set)
    slow: Dict[Key, Any] = field(default_factory=dict)
    unreadable: bool = False
    events: List[Event] = field(default_factory=list)

    def dump(self) -> Dict[Key, Any]:
        self.log.append(f"dump {self.name}")
        if self.unreadable:
            raise KernelError(self.name, "cannot be read", "look")
        return dict(self.things)

    def owns(self, thing: Any) -> bool:
        return getattr(thing, "ours", True)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        errors: Dict[Key, KernelError] = {}
        for change in changes:
            verb = "remove" if change.after is None else "create" if change.before is None else "change"
            self.log.append(f"{verb} {change.key}")
            if change.key in self.refused:
                errors[change.key] = KernelError(f"{self.name} {change.key}", "refused", "wait")
            elif change.key in self.slow:
                self.slow[change.key] = change.after
                errors[change.key] = Pending(f"{self.name} {change.key}", "has not ended yet", "wait for it")
            else:
                self.put(change.key, change.after)
        return errors

    def put(self, key: Key, thing: Optional[Any]) -> None:
        """Change the host, and announce it."""
        if thing is None:
            self.things.pop(key, None)
        else:
            self.things[key] = thing
        self.events.append(Event(self.name, Notice(key, thing, str(key) if self.kinds == (Link,) else "")))

    def notice(self, message: Any) -> Optional[Notice]:
        return message.notice if isinstance(message, Event) and message.table == self.name else None


class Host:
    """A link table, a route table, a reconciler on both, and a clock."""

    def __init__(self) -> None:
        self.log: List[str] = []
        self.now = 100.0
        self.events: List[Event] = []
        self.links = Memory("link", (Link,), self.log, events=self.events)
        self.routes = Memory("route", (Route,), self.log, events=self.events)
        self.reconciler = Reconciler((self.links, self.routes), lambda: self.now)

    def settle(self) -> Tuple[str, ...]:
        """Hand over events and reconcile until nothing happens any more; what the tables were asked for."""
        start = len(self.log)
        for _round in range(10):
            events, self.events[:] = list(self.events), []
            for event in events:
                self.reconciler.note(event)
            before = len(self.log)
            self.reconciler.reconcile()
            if not self.events and len(self.log) == before:
                return tuple(self.log[start:])
        raise AssertionError(f"the reconciler goes round in circles: {self.log[-10:]}")


def writes(log: Sequence[str]) -> List[str]:
    return [line for line in log if not line.startswith("dump")]


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def up(host: Host) -> Host:
    """A host that has a device and two routes, and may remove."""
    host.reconciler.want("node", [Link("flannel.1")])
    host.reconciler.want("a", [Route("a")])
    host.reconciler.want("b", [Route("b")])
    host.reconciler.allow_removal()
    host.settle()
    assert host.reconciler.settled
    return host


# --- wanting


def test_what_is_wanted_is_made_in_the_order_of_the_tables(host: Host) -> None:
    host.reconciler.want("a", [Route("a")])
    host.reconciler.want("node", [Link("flannel.1")])
    before = host.reconciler.settled
    assert writes(host.settle()) == ["create flannel.1", "create a"]
    assert (before, host.reconciler.settled) == (False, True)
    assert host.reconciler.reconcile() is None


def test_a_host_that_is_right_is_only_read(host: Host) -> None:
    host.links.things["flannel.1"] = Link("flannel.1")
    host.routes.things["a"] = Route("a")
    host.reconciler.want("node", [Link("flannel.1"), Route("a")])
    assert host.settle() == ("dump link", "dump route")
    assert host.reconciler.settled


def test_what_exists_and_differs_is_changed_not_made_again(host: Host) -> None:
    host.routes.things["a"] = Route("a", via="upstream's")
    host.reconciler.want("a", [Route("a")])
    assert writes(host.settle()) == ["change a"]


def test_a_new_peer_costs_no_dump(up: Host) -> None:
    up.reconciler.want("c", [Route("c")])
    assert up.settle() == ("create c",)


def test_a_peer_that_changes_is_changed(up: Host) -> None:
    up.reconciler.want("a", [Route("a", via="elsewhere")])
    assert up.settle() == ("change a",)
    assert up.routes.things["a"].via == "elsewhere"


def test_an_owner_that_wants_something_else_gives_up_the_rest(up: Host) -> None:
    up.reconciler.want("a", [Route("a2")])
    assert up.settle() == ("create a2", "remove a")


def test_wanting_the_same_again_does_nothing(up: Host) -> None:
    up.reconciler.want("a", [Route("a")])
    assert up.settle() == ()


def test_what_two_owners_want_stays_until_both_forget(up: Host) -> None:
    up.reconciler.want("twin", [Route("a")])
    up.reconciler.forget("a")
    assert up.settle() == ()
    up.reconciler.forget("twin")
    assert up.settle() == ("remove a",)


def test_of_two_different_wishes_the_first_counts_until_it_is_withdrawn(up: Host) -> None:
    up.reconciler.want("rival", [Route("a", via="rival")])
    assert up.settle() == ()
    up.reconciler.forget("a")
    assert up.settle() == ("change a",)
    assert up.routes.things["a"].via == "rival"


def test_forgetting_an_unknown_owner_is_nothing(up: Host) -> None:
    up.reconciler.forget("nobody")
    assert up.settle() == ()


# --- removing


def test_nothing_is_removed_before_it_is_allowed(host: Host) -> None:
    host.routes.things["old"] = Route("old")
    host.reconciler.want("a", [Route("a")])
    host.settle()
    host.reconciler.forget("a")
    assert host.settle() == ()
    assert set(host.routes.things) == {"old", "a"}
    host.reconciler.allow_removal()
    assert sorted(writes(host.settle())) == ["remove a", "remove old"]


def test_what_is_not_ours_stays(host: Host) -> None:
    host.routes.things["theirs"] = Route("theirs", ours=False)
    host.reconciler.allow_removal()
    assert writes(host.settle()) == []


def test_removal_goes_from_routes_to_links_after_all_additions(up: Host) -> None:
    up.reconciler.forget("node")
    up.reconciler.forget("a")
    up.reconciler.want("c", [Link("flannel.2"), Route("c")])
    assert writes(up.settle()) == ["create flannel.2", "create c", "remove a", "remove flannel.1"]


def test_a_leftover_that_appears_later_is_removed(up: Host) -> None:
    up.routes.put("stray", Route("stray"))
    assert up.settle() == ("remove stray",)


def test_a_removal_is_announced(up: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    up.routes.put("stray", Route("stray"))
    up.settle()
    assert caplog.messages == ["route stray: nobody wants it, removing it"]


def test_a_refused_removal_is_a_problem_and_tried_again(up: Host) -> None:
    up.routes.refused.add("a")
    up.reconciler.forget("a")
    up.settle()
    assert set(up.reconciler.problems()) == {("route", "a")}
    up.routes.refused.clear()
    up.now += FIRST_DELAY
    assert writes(up.settle()) == ["remove a"]
    assert up.reconciler.problems() == {}


# --- drift


@pytest.mark.parametrize(("spoiled", "repair"), [(None, "create a"), (Route("a", via="wrong"), "change a")])
def test_drift_is_repaired_by_the_notification_alone(
    up: Host, spoiled: Optional[Route], repair: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _round in range(2):
        up.routes.put("a", spoiled)
        assert up.settle() == (repair,)
    assert up.reconciler.repairs == {"link": 0, "route": 2}
    assert len(caplog.messages) == 2
    assert all(message.startswith("route a: was ") for message in caplog.messages)


def test_drift_is_repaired_by_a_pass_alone(up: Host) -> None:
    for _round in range(2):
        up.routes.things.pop("a")
        assert up.settle() == ()
        up.reconciler.mark("route")
        assert up.settle() == ("dump route", "create a")
    assert up.reconciler.repairs["route"] == 2


def test_a_lost_notification_costs_one_pass_over_everything(up: Host) -> None:
    up.routes.things.clear()
    up.reconciler.mark_all()
    assert up.settle() == ("dump link", "dump route", "create a", "create b")


def test_gone_and_back_before_we_looked_is_no_drift(up: Host) -> None:
    up.routes.put("a", None)
    up.routes.put("a", Route("a"))
    assert up.settle() == ()
    assert up.reconciler.repairs["route"] == 0


def test_thousands_of_repairs_do_not_fill_the_log(up: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    routes = [Route(str(number)) for number in range(1000)]
    up.reconciler.want("many", routes)
    up.settle()
    for route in routes:
        up.routes.put(route.name, None)
    up.settle()
    assert up.reconciler.repairs["route"] == 1000
    assert len(caplog.messages) == 11
    assert caplog.messages[-1] == "route: the same for 990 more"


# --- devices


def test_an_event_on_a_device_that_matters_reads_everything_again(up: Host) -> None:
    """The kernel drops IPv4 routes with the link and does not say so."""
    up.routes.things.clear()
    up.links.put("flannel.1", Link("flannel.1", mtu=1400))
    assert up.settle() == (
        *("dump link", "change flannel.1", "dump route", "create a", "create b"),
        *("dump link", "dump route"),
    )


def test_the_device_below_matters_too(up: Host) -> None:
    up.routes.things.clear()
    up.links.put("eth0", Link("eth0"))
    assert writes(up.settle()) == ["create a", "create b", "remove eth0"]


def test_a_repeated_event_is_not_an_event(up: Host) -> None:
    up.links.put("eth0", replace(Link("eth0"), device=""))
    up.links.things.clear()
    up.links.things["flannel.1"] = Link("flannel.1")
    up.settle()
    up.events.append(Event("link", Notice("eth0", replace(Link("eth0"), device=""), "eth0")))
    assert up.settle() == ()


def test_after_lost_notifications_a_repetition_counts_again(up: Host) -> None:
    event = Event("link", Notice("eth0", None, "eth0"))
    up.events.append(event)
    up.settle()
    up.reconciler.mark_all()
    up.settle()
    up.events.append(event)
    assert up.settle() == ("dump link", "dump route")


def test_an_event_on_any_other_device_costs_nothing(up: Host) -> None:
    up.events.append(Event("link", Notice("veth7", Link("veth7"), "veth7")))
    up.links.owns = lambda thing: thing.name != "veth7"  # type: ignore[method-assign]
    assert up.settle() == ()


def test_a_device_made_again_has_the_rest_read_again(up: Host) -> None:
    up.links.things["flannel.1"] = Link("flannel.1", mtu=9000)
    up.routes.things.clear()
    up.reconciler.mark("link")
    up.events.clear()
    up.reconciler.reconcile()
    assert up.log[-5:] == ["dump link", "change flannel.1", "dump route", "create a", "create b"]


# --- failures


def test_each_failing_object_waits_on_its_own(up: Host) -> None:
    up.routes.refused.add("c")
    up.reconciler.want("c", [Route("c")])
    up.reconciler.want("d", [Route("d")])
    assert sorted(up.settle()) == ["create c", "create d"]
    before = up.reconciler.settled
    assert {place: error.cause for place, error in up.reconciler.problems().items()} == {
        ("route", "c"): "refused"
    }
    waits = []
    for _round in range(8):
        wait = up.reconciler.reconcile()
        assert wait is not None
        waits.append(wait)
        up.now += wait - 0.01
        assert up.settle() == (), "not before its time"
        up.now += 0.01
        assert up.settle() == ("dump route", "create c")
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_DELAY, LONGEST_DELAY]
    up.routes.refused.clear()
    up.now += LONGEST_DELAY
    up.settle()
    assert up.reconciler.problems() == {}
    assert (before, up.reconciler.settled) == (False, True)
    up.routes.refused.add("c")
    up.routes.put("c", None)
    up.settle()
    assert up.reconciler.reconcile() == FIRST_DELAY, "success had reset the waiting time"


def test_the_same_failure_is_told_once(up: Host, caplog: pytest.LogCaptureFixture) -> None:
    up.routes.refused.add("c")
    up.reconciler.want("c", [Route("c")])
    for _round in range(3):
        up.settle()
        up.now += LONGEST_DELAY
    assert caplog.messages == ["route c: refused; wait"]


def test_a_failure_that_solved_itself_is_forgotten(up: Host) -> None:
    up.routes.refused.add("c")
    up.reconciler.want("c", [Route("c")])
    up.settle()
    up.routes.things["c"] = Route("c")
    up.now += FIRST_DELAY
    assert up.settle() == ("dump route",)
    assert up.reconciler.problems() == {}


def test_a_failure_nobody_wants_any_more_is_forgotten(up: Host) -> None:
    up.routes.refused.add("c")
    up.reconciler.want("c", [Route("c")])
    up.settle()
    up.reconciler.forget("c")
    assert up.settle() == ()
    assert up.reconciler.problems() == {}
    assert up.reconciler.settled


def test_an_event_on_the_device_ends_the_waiting(up: Host) -> None:
    up.routes.refused.add("c")
    up.reconciler.want("c", [Route("c")])
    for _round in range(6):
        up.settle()
        up.now += LONGEST_DELAY
    up.routes.refused.clear()
    up.settle()
    up.routes.refused.add("c")
    up.routes.put("c", None)
    up.settle()
    up.routes.refused.clear()
    up.events.append(Event("link", Notice("eth0", None, "eth0")))
    assert writes(up.settle()) == ["create c"]


def test_a_table_that_cannot_be_read_is_left_alone_and_the_others_go_on(host: Host) -> None:
    host.links.unreadable = True
    host.reconciler.want("node", [Link("flannel.1"), Route("a")])
    host.reconciler.allow_removal()
    assert host.settle() == ("dump link", "dump route", "create a")
    assert set(host.reconciler.problems()) == {("link", WHOLE_TABLE)}
    host.links.unreadable = False
    assert host.settle() == ()
    host.now += FIRST_DELAY
    assert writes(host.settle()) == ["create flannel.1"]
    assert host.reconciler.problems() == {}
    assert host.reconciler.settled


def test_nothing_is_removed_from_a_table_that_cannot_be_read(up: Host) -> None:
    up.routes.unreadable = True
    up.reconciler.mark("route")
    up.settle()
    up.reconciler.forget("a")
    assert writes(up.settle()) == []
    assert "a" in up.routes.things


# --- tables that work in a thread of their own


def test_what_is_pending_is_asked_for_once_and_is_no_failure(
    up: Host, caplog: pytest.LogCaptureFixture
) -> None:
    up.routes.slow["c"] = None
    up.reconciler.want("c", [Route("c")])
    assert writes(up.settle()) == ["create c"]
    assert up.reconciler.reconcile() is None, "there is no time at which it is tried again"
    assert not up.reconciler.settled
    assert "has not ended yet" in str(up.reconciler.problems_by_owner()["c"])
    for _pass in range(2):
        up.now += 100
        up.reconciler.mark("route")
        assert writes(up.settle()) == []
    assert caplog.records == []


def test_what_was_pending_is_done_when_the_table_says_so(up: Host) -> None:
    up.routes.slow["c"] = None
    up.reconciler.want("c", [Route("c")])
    up.settle()
    up.routes.put("c", up.routes.slow.pop("c"))
    assert writes(up.settle()) == []
    assert up.reconciler.settled
    assert not up.reconciler.problems()
    assert up.reconciler.repairs["route"] == 0


def test_news_without_success_have_it_asked_for_again(up: Host) -> None:
    up.routes.slow["c"] = None
    up.reconciler.want("c", [Route("c")])
    up.settle()
    up.events.append(Event("route", Notice("c", None)))
    assert writes(up.settle()) == ["create c"]


def test_a_removal_may_be_pending(up: Host) -> None:
    up.routes.slow["a"] = "?"
    up.reconciler.forget("a")
    assert writes(up.settle()) == ["remove a"]
    assert not up.reconciler.settled
    up.routes.put("a", up.routes.slow.pop("a"))
    assert writes(up.settle()) == []
    assert up.reconciler.settled


def test_what_is_pending_may_be_wanted_otherwise_meanwhile(up: Host) -> None:
    up.routes.slow["c"] = None
    up.reconciler.want("c", [Route("c")])
    up.settle()
    up.reconciler.want("c", [Route("c", via="elsewhere")])
    assert writes(up.settle()) == ["create c"]
    assert up.routes.slow["c"] == Route("c", via="elsewhere")
