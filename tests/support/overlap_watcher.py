# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole life of a store, watched from its first revision: no two leases may ever have overlapped.

etcd keeps every revision of these short runs, so that a watch from revision 1 sees all that was ever true, also what
happened while the store was stopped, frozen, or looked at by nobody.
"""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import uuid
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional

from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, parse_key, parse_value
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, overlaps

from tests.support.cluster import Cluster
from tests.support.node import PREFIX

SUBNETS = f"{PREFIX}/subnets/"
END = f"{PREFIX}/end-of-the-run"


@dataclass(frozen=True)
class Event:
    """One change of one lease key. value: None when it was deleted, or its etcd lease ended."""

    revision: int
    key: str
    value: Optional[str]


@dataclass
class History:
    """holders: who held each lease, one after the other. writes: how often each key was written."""

    holders: Dict[str, List[str]] = field(default_factory=dict)
    writes: Dict[str, int] = field(default_factory=dict)


def assert_no_overlap(cluster: Cluster) -> History:
    """At no revision did two leases overlap, nor did a key pass from one host to another without having been free."""
    present: Dict[str, str] = {}
    history = History()
    for revision, events in itertools.groupby(_read_events(cluster), lambda event: event.revision):
        changes = list(events)
        for event in changes:  # of one transaction: what it frees may be what it takes
            if event.value is None:
                present.pop(event.key, None)
        for event in changes:
            if event.value is not None:
                _take(event.key, _name_holder(parse_value(event.value)), present, history, revision)
    return history


def _take(key: str, holder: str, present: Dict[str, str], history: History, revision: int) -> None:
    before = present.get(key)
    assert before in (None, holder), (
        f"revision {revision}: {key} passed from {before} to {holder} under both of them"
    )
    rivals = {other: who for other, who in present.items() if other != key and _clash(key, other)}
    assert not rivals, f"revision {revision}: {key} of {holder} overlaps {rivals}"
    present[key] = holder
    history.writes[key] = history.writes.get(key, 0) + 1
    held = history.holders.setdefault(key, [])
    if held[-1:] != [holder]:
        held.append(holder)


def _clash(one: str, other: str) -> bool:
    ours, theirs = parse_key(one), parse_key(other)
    pairs = [(ours.of(family), theirs.of(family)) for family in FAMILIES]
    return any(a is not None and b is not None and overlaps(a, b) for a, b in pairs)


def _name_holder(attributes: Attributes) -> str:
    """The host behind a lease: by the MAC of its VTEP, which it keeps when its address changes; else by the address."""
    data = json.loads(attributes.backend_data or attributes.backend_v6_data or "{}")
    return str(data.get("VtepMAC") or attributes.public_ip or attributes.public_ipv6)


def _read_events(cluster: Cluster) -> Iterator[Event]:
    """All changes of leases, from the first revision to now."""
    mark = uuid.uuid4().hex
    cluster.etcd.put(END, mark)
    command = ["etcdctl", f"--endpoints={cluster.etcd.endpoint}", "watch", "--prefix", PREFIX]
    with subprocess.Popen(
        [*cluster.switch.prefix, *command, "--rev=1", "--write-out=json"], stdout=subprocess.PIPE
    ) as watch:
        assert watch.stdout is not None
        try:
            for line in watch.stdout:
                for event in json.loads(line)["Events"]:
                    key = _decode(event["kv"]["key"])
                    if key == END and _decode(event["kv"]["value"]) == mark:
                        return
                    if key.startswith(SUBNETS):
                        yield _make_event(key[len(SUBNETS) :], event)
        finally:
            watch.kill()
    raise AssertionError("the watch ended before the end of the run")


def _make_event(key: str, event: Dict[str, Any]) -> Event:
    deleted = event.get("type") == 1  # mvccpb.DELETE; etcdctl leaves the 0 of PUT out
    value = None if deleted else _decode(event["kv"]["value"])
    return Event(int(event["kv"]["mod_revision"]), key, value)


def _decode(text: str) -> str:
    return base64.b64decode(text).decode()
