# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What extension wants for a lease, and how its table runs commands, tries again, and remembers (spec 5.8; A20)."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, format_value
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4
from flanneld.backends import BackendError, Host, extension, find_backend
from flanneld.instance import Instance
from flanneld.outputs.remembered import Damaged, format_hooks, parse_hooks
from flanneld.outputs.state_dir import StateDir
from flanneld.reconciler import Reconciler
from flanneld.tables import Change, News, Pending
from flanneld.tables import extension as table_module
from flanneld.tables.commands import CommandError
from flanneld.tables.extension import NODE, ExtensionTable, Hook
from flanneld.tables.scope import Scope

from tests.agent.unit.test_backends import CHOICE, DUAL_CHOICE, DUAL_OWN, DUAL_PEER, OWN, PEER, UNDERLAY, node
from tests.support.leases import config
from tests.support.waiting import wait_until

ADD, REMOVE, POST = "add $SUBNET", "remove $SUBNET", "post $NETWORK"
LOCAL = extension.Local("made", "life1")


def config_of(**commands):
    return config(Backend={"Type": "extension", **commands})


ALL = config_of(SubnetAddCommand=ADD, SubnetRemoveCommand=REMOVE, PostStartupCommand=POST)
PEER_ATTRIBUTES = Attributes(ip_address("192.0.2.2"), None, "extension", '"the peer\\u0027s"')
EXTENSION_PEER = replace(PEER, attributes=PEER_ATTRIBUTES)
OWN_LEASE = replace(OWN, attributes=Attributes(ip_address("192.0.2.1"), None, "extension"))


def host(allowed=True):
    return Host(Instance(), CHOICE, {}.get, {}.get, {}.__setitem__, [].append, allows_commands=allowed)


# --- pure


def test_a_host_that_does_not_allow_it_refuses_by_name_with_the_way_out():
    with pytest.raises(BackendError) as raised:
        extension.prepare(host(allowed=False), config_of(PreStartupCommand="touch /tmp/must-not-be"))
    assert "this host does not allow that" in raised.value.cause
    assert "--allow-extension-commands" in raised.value.next_step
    assert "flannel_allow_extension_commands" in raised.value.next_step


def test_it_is_not_allowed_unless_somebody_says_so():
    assert not Host(Instance(), CHOICE, {}.get, {}.get, {}.__setitem__, [].append).allows_commands


@pytest.mark.parametrize(
    ("command", "data"),
    [
        ("echo  a<b ", ',"BackendData":"a\\u003cb"'),
        ("true", ',"BackendData":""'),
        ("", ""),
        ("  ", ""),
    ],
)
def test_what_the_first_command_prints_is_published(command, data):
    cfg = config_of(PreStartupCommand=command)
    local = extension.prepare(host(), cfg)
    assert format_value(extension.attributes(local, CHOICE, cfg)) == (
        f'{{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"extension"{data}}}'
    )


def test_the_first_command_failing_ends_the_start():
    with pytest.raises(BackendError, match="PreStartupCommand: failed"):
        extension.prepare(host(), config_of(PreStartupCommand="false"))


def test_each_start_is_another_life():
    lives = {extension.prepare(host(), ALL).life for _start in range(3)}
    assert len(lives) == 3


def test_what_this_host_has():
    (hook,) = extension.desired(node(ALL, LOCAL, own=OWN_LEASE), UNDERLAY)
    assert (hook.key, hook.command, hook.undo, hook.data, hook.life) == (NODE, POST, "", "", "life1")
    assert dict(hook.variables) == {
        "NETWORK": "10.5.0.0/16",
        "SUBNET": "10.5.34.0/24",
        "IPV6SUBNET": "::/0",
        "PUBLIC_IP": "192.0.2.1",
        "PUBLIC_IPV6": "<nil>",
    }
    assert list(extension.desired(node(config_of(), LOCAL), UNDERLAY)) == []


def test_what_a_peer_has():
    (hook,) = extension.desired_for(node(ALL, LOCAL), EXTENSION_PEER, UNDERLAY)
    assert (hook.key, hook.command, hook.undo) == (PEER.key, ADD, REMOVE)
    assert (hook.data, hook.life) == ("the peer's", "life1")
    assert dict(hook.variables)["SUBNET"] == "10.5.72.0/24"
    assert dict(hook.variables)["PUBLIC_IP"] == "192.0.2.2"
    assert "the peer's" not in repr(hook)


def test_a20_commands_get_the_ipv6_of_a_peer():
    cfg = config(
        Backend={"Type": "extension", "SubnetAddCommand": "x"}, EnableIPv6=True, IPv6Network="fd05::/48"
    )
    peer = replace(
        DUAL_PEER, attributes=replace(DUAL_PEER.attributes, backend_type="extension", backend_data=None)
    )
    (hook,) = extension.desired_for(node(cfg, LOCAL, DUAL_OWN, DUAL_CHOICE), peer, UNDERLAY)
    assert dict(hook.variables) == {
        "SUBNET": "10.5.72.0/24",
        "IPV6SUBNET": "fd05:0:0:48::/64",
        "PUBLIC_IP": "192.0.2.2",
        "PUBLIC_IPV6": "2001:db8::2",
    }


@pytest.mark.parametrize(
    ("commands", "count"),
    [
        ({}, 0),
        ({"SubnetAddCommand": " "}, 0),
        ({"SubnetRemoveCommand": "x"}, 1),
        ({"SubnetAddCommand": "x"}, 1),
    ],
)
def test_a_peer_without_commands_wants_nothing(commands, count):
    assert (
        len(list(extension.desired_for(node(config_of(**commands), LOCAL), EXTENSION_PEER, UNDERLAY)))
        == count
    )


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, None),
        ({"backend_data": None}, None),
        ({"backend_data": "7"}, "BackendData is not a JSON string"),
        ({"backend_data": '{"a":1}'}, "BackendData is not a JSON string"),
        ({"backend_type": "vxlan"}, "BackendType is vxlan, this host runs extension"),
        ({"backend_type": ""}, "BackendType is missing, this host runs extension"),
    ],
)
def test_which_leases_are_refused(attributes, reason):
    peer = replace(EXTENSION_PEER, attributes=replace(PEER_ATTRIBUTES, **attributes))
    assert extension.refuse(peer, IPV4) == reason


def test_the_rest():
    assert find_backend(ALL) is extension
    assert extension.mtu(ALL, UNDERLAY.mtu) == 1500
    assert extension.devices(Instance(), ALL) == {}
    assert extension.overhead(ALL, IPV4) == 0
    assert list(extension.claims(EXTENSION_PEER, IPV4)) == []
    (table,) = extension.tables(Instance(), Scope(frozenset(), "", ()))
    assert table.name == "extension"


# --- the record


HOOKS = (
    Hook(NODE, POST, "", (("NETWORK", "10.5.0.0/16"),), life="l1"),
    Hook("10.5.72.0-24", ADD, REMOVE, (("SUBNET", "10.5.72.0/24"),), "data", "l1", done=False),
)


def test_the_record_is_read_as_it_was_written(tmp_path):
    assert parse_hooks(format_hooks(HOOKS)) == HOOKS
    state = StateDir(tmp_path / "state")
    assert state.recall_hooks() == ()
    state.remember_hooks(HOOKS)
    assert state.recall_hooks() == HOOKS
    assert (tmp_path / "state" / "extension.json").stat().st_mode & 0o777 == 0o600
    assert str(tmp_path / "state" / "extension.json") in state.forget_all()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(version=2),
        lambda d: d.update(hooks={}),
        lambda d: d["hooks"].append(d["hooks"][0]),
        lambda d: d["hooks"].append("x"),
        lambda d: d["hooks"][0].update(done="yes"),
        lambda d: d["hooks"][0].update(variables={"a": 1}),
        lambda d: d["hooks"][0].update(variables=[]),
        lambda d: d["hooks"][0].pop("undo"),
        lambda d: d["hooks"][0].update(name=None),
    ],
)
def test_a_damaged_record_counts_as_not_there(tmp_path, change, caplog):
    document = json.loads(format_hooks(HOOKS))
    change(document)
    with pytest.raises(Damaged):
        parse_hooks(json.dumps(document))
    (tmp_path / "extension.json").write_text(json.dumps(document))
    assert StateDir(tmp_path).recall_hooks() == ()
    assert "SubnetRemoveCommand is not run" in caplog.text


# --- the table


class Memory:
    """A record that notes each of its writings."""

    def __init__(self, *hooks: Hook) -> None:
        self.hooks = tuple(hooks)
        self.writings: list[tuple[Hook, ...]] = []

    def recall_hooks(self) -> tuple[Hook, ...]:
        return self.hooks

    def remember_hooks(self, hooks: Any) -> None:
        self.hooks = tuple(hooks)
        self.writings.append(self.hooks)


class Bench:
    """A table with its thread under a reconciler, and commands that do what `answers` says: an error, or nothing."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.ran: list[tuple[str, dict[str, str], str]] = []
        self.answers: dict[str, list[Any]] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.news: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.table = ExtensionTable(memory, self.run)
        self.reconciler = Reconciler([self.table])
        self.thread = threading.Thread(target=self.table.work, args=(self.news.put, self.stop), daemon=True)
        self.thread.start()

    def run(self, what, command, variables, data):
        self.ran.append((what, dict(variables), data))
        assert self.gate.wait(10)
        answers = self.answers.get(what.split()[0], [])
        if answers and answers.pop(0):
            raise CommandError(what, "failed (exit status 1): no", "mend it")
        return ""

    @property
    def names(self):
        return [what for what, _variables, _data in self.ran]

    def turn(self, seconds=0.05):
        """Do as the daemon does, for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.reconciler.reconcile()
            with contextlib.suppress(queue.Empty):
                self.reconciler.note(self.news.get(timeout=0.02))
        self.reconciler.reconcile()

    def settle(self, condition=lambda: True):
        """Go on until all is done and the condition holds."""
        wait_until(lambda: self.turn() or (self.reconciler.settled and condition()), "all is done", 20)

    def close(self):
        self.gate.set()
        self.stop.set()
        self.thread.join(5)


@pytest.fixture
def bench(monkeypatch):
    made = []

    def make(*hooks):
        monkeypatch.setattr(table_module, "FIRST_DELAY", 0.05)
        monkeypatch.setattr(table_module, "LONGEST_DELAY", 0.2)
        made.append(Bench(Memory(*hooks)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def peer_hook(number=72, life="life1", **changes):
    subnet = f"10.5.{number}.0/24"
    hook = Hook(subnet.replace("/", "-"), ADD, REMOVE, (("SUBNET", subnet),), f"data {number}", life)
    return replace(hook, **changes)


def test_a_peer_comes_and_goes(bench):
    one = bench()
    one.reconciler.allow_removal()
    one.reconciler.want("peer", [peer_hook()])
    one.settle()
    assert one.ran == [("SubnetAddCommand 10.5.72.0-24", {"SUBNET": "10.5.72.0/24"}, "data 72")]
    one.reconciler.forget("peer")
    one.settle()
    assert one.names[1:] == ["SubnetRemoveCommand 10.5.72.0-24"]
    assert one.ran[1][1:] == ({"SUBNET": "10.5.72.0/24"}, "data 72")
    one.close()
    assert one.memory.hooks == ()


def test_a_peer_that_vanished_while_the_agent_was_down_is_removed(bench):
    one = bench(peer_hook(life="earlier"), peer_hook(73, life="earlier"))
    one.reconciler.want("peer", [peer_hook(73)])
    one.settle()
    assert one.names == ["SubnetAddCommand 10.5.73.0-24"], "nothing is removed before the peers are known"
    one.reconciler.allow_removal()
    one.settle()
    assert one.names[1:] == ["SubnetRemoveCommand 10.5.72.0-24"]


def test_what_was_begun_when_the_agent_was_killed_is_undone(bench):
    one = bench(peer_hook(life="earlier", done=False))
    one.reconciler.allow_removal()
    one.settle(lambda: bool(one.ran))
    assert one.names == ["SubnetRemoveCommand 10.5.72.0-24"]


def test_it_is_written_down_before_it_begins(bench):
    one = bench()
    one.gate.clear()
    one.reconciler.want("peer", [peer_hook()])
    one.reconciler.reconcile()
    wait_until(lambda: one.ran, "it has begun")
    assert one.memory.writings == [(peer_hook(done=False),)]
    one.gate.set()
    one.settle()
    one.close()
    assert one.memory.hooks == (peer_hook(),)


def test_each_life_runs_it_again_once(bench):
    one = bench(peer_hook(life="earlier"))
    one.reconciler.want("peer", [peer_hook(life="now")])
    one.settle()
    one.reconciler.mark_all()
    one.settle()
    assert one.names == ["SubnetAddCommand 10.5.72.0-24"]


def test_a_changed_peer_is_added_again_and_an_equal_one_is_not(bench):
    one = bench()
    one.reconciler.want("peer", [peer_hook()])
    one.settle()
    one.reconciler.want("peer", [peer_hook()])
    one.settle()
    one.reconciler.want("peer", [peer_hook(data="new")])
    one.settle()
    assert [data for _what, _variables, data in one.ran] == ["data 72", "new"]


def test_a_failure_is_tried_again_and_told_once(bench, caplog):
    one = bench()
    one.answers["SubnetAddCommand"] = [True, True, True]
    one.reconciler.want("peer", [peer_hook()])
    one.settle(lambda: len(one.ran) == 4)
    assert caplog.text.count("failed (exit status 1): no") == 1
    assert not one.reconciler.problems()


def test_a_failure_is_a_problem_of_its_peer_while_it_lasts(bench):
    one = bench()
    one.answers["SubnetAddCommand"] = [True] * 1000
    one.reconciler.want("peer", [peer_hook()])
    one.turn(0.6)
    problem = one.reconciler.problems_by_owner()["peer"]
    assert isinstance(problem, Pending)
    assert "failed (exit status 1): no; it is tried again" in str(problem)
    one.reconciler.forget("peer")
    one.reconciler.allow_removal()
    one.settle()
    assert one.names[-1] == "SubnetRemoveCommand 10.5.72.0-24"


def test_a_removal_is_given_up_in_the_end(bench, caplog, monkeypatch):
    monkeypatch.setattr(table_module, "_REMOVALS", 3)
    one = bench(peer_hook())
    one.answers["SubnetRemoveCommand"] = [True] * 1000
    one.reconciler.allow_removal()
    one.settle(lambda: len(one.ran) == 3)
    one.close()
    assert one.memory.hooks == ()
    assert "given up after 3 attempts" in caplog.text


def test_this_host_comes_before_its_peers(bench):
    one = bench()
    one.answers["PostStartupCommand"] = [True, True]
    one.reconciler.want("peer", [peer_hook()])
    one.reconciler.want("node", [Hook(NODE, POST, "", (), life="life1")])
    one.settle()
    assert one.names == ["PostStartupCommand of this host"] * 3 + ["SubnetAddCommand 10.5.72.0-24"]


def test_a_slow_command_holds_up_nobody(bench):
    one = bench()
    one.gate.clear()
    one.reconciler.want("peer", [peer_hook()])
    assert one.reconciler.reconcile() is None
    wait_until(lambda: one.ran, "it has begun")
    assert one.reconciler.reconcile() is None
    one.reconciler.mark_all()
    assert one.reconciler.reconcile() is None, "it is not tried again while it runs"
    assert "has not ended yet" in str(one.reconciler.problems_by_owner()["peer"])
    one.gate.set()
    one.settle()
    assert len(one.ran) == 1


def test_a_peer_that_goes_while_its_command_runs_is_removed_after_it(bench):
    one = bench()
    one.reconciler.allow_removal()
    one.gate.clear()
    one.reconciler.want("peer", [peer_hook()])
    one.reconciler.reconcile()
    wait_until(lambda: one.ran, "it has begun")
    one.reconciler.forget("peer")
    one.reconciler.reconcile()
    one.gate.set()
    one.settle(lambda: len(one.ran) == 2)
    assert one.names[1] == "SubnetRemoveCommand 10.5.72.0-24"
    one.close()
    assert one.memory.hooks == ()


def test_a_peer_that_changes_while_its_command_runs_gets_the_newest(bench):
    one = bench()
    one.gate.clear()
    one.reconciler.want("peer", [peer_hook()])
    one.reconciler.reconcile()
    wait_until(lambda: one.ran, "it has begun")
    for data in ("second", "third"):
        one.reconciler.want("peer", [peer_hook(data=data)])
        one.reconciler.reconcile()
    one.gate.set()
    one.settle(lambda: len(one.ran) == 2)
    assert [data for _what, _variables, data in one.ran] == ["data 72", "third"]
    one.close()
    assert one.memory.hooks == (peer_hook(data="third"),)


def test_without_a_command_there_is_nothing_to_run(bench):
    one = bench()
    one.reconciler.allow_removal()
    one.reconciler.want("peer", [peer_hook(command="")])
    one.settle()
    one.reconciler.forget("peer")
    one.settle(lambda: bool(one.ran))
    assert one.names == ["SubnetRemoveCommand 10.5.72.0-24"]


def test_many_peers_cost_few_writings(bench):
    one = bench()
    one.reconciler.want("peers", [peer_hook(number) for number in range(200)])
    one.settle()
    assert len(one.ran) == 200
    assert len(one.memory.writings) < 10


def test_other_news_are_not_its_own():
    table = ExtensionTable(Memory())
    assert table.notice(News("vici", "x")) is None
    assert table.notice("anything") is None
    assert table.notice(News("extension", "x")).current is None
    assert table.owns(peer_hook())
    errors = table.apply([Change("k", None, peer_hook())])
    assert [type(error) for error in errors.values()] == [Pending]
