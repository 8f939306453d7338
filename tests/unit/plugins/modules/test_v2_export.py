# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What flannel_import reads from an export of the v2 API, and what it finds missing (spec appendix B)."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, Optional

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError, OptionError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, Lease, parse_key, parse_value
from ansible_collections.weft.flannel.plugins.module_utils._network import NOTHING_STORED, StoredNetwork
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue
from ansible_collections.weft.flannel.plugins.module_utils._v2_export import (
    Export,
    ImportConflict,
    plan_import,
    read_export,
)

PREFIX = "/coreos.com/network"
LAYOUT = Layout.from_prefix(PREFIX)
NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=timezone.utc)
CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
# as v0.9.1 writes it
VALUE = '{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":{"VtepMAC":"c6:d2:32:6f:8f:44"}}'
OTHER = VALUE.replace("192.0.2.1", "192.0.2.9")


def node(name: str, value: str, **more: Any) -> dict[str, Any]:
    return {"key": f"{PREFIX}/{name}", "value": value, "modifiedIndex": 7, "createdIndex": 7, **more}


def answer(*leases: dict[str, Any], config: str = CONFIG) -> str:
    """As etcd 2.3 gives it."""
    subnets = {"key": f"{PREFIX}/subnets", "dir": True, "nodes": list(leases)}
    network = {"key": PREFIX, "dir": True, "nodes": [node("config", config), subnets]}
    return json.dumps({"action": "get", "node": network})


def lease(name: str = "10.5.34.0-24", value: str = VALUE, **more: Any) -> dict[str, Any]:
    return node(f"subnets/{name}", value, **more)


def read(text: str, prefix: str = PREFIX) -> Export:
    return read_export(text, prefix, NOW)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ({"expiration": "2026-11-28T13:00:00.123456789Z", "ttl": 86400}, 3600),
        ({"expiration": "2026-11-28T14:00:00.5+01:00", "ttl": 1}, 3600),
        ({"expiration": "2026-11-28T12:00:10Z"}, 10),
        ({"ttl": 500}, 500),
        ({}, None),
    ],
)
def test_a_lease_keeps_the_time_that_it_has_left(times: dict[str, Any], seconds: Optional[int]) -> None:
    (found,) = read(answer(lease(**times))).leases
    assert (found.key, found.seconds_left) == ("10.5.34.0-24", seconds)
    assert found.attributes.backend_data == '{"VtepMAC":"c6:d2:32:6f:8f:44"}'


def test_the_config_is_taken_to_the_letter() -> None:
    text = ' {"network": "10.5.0.0/16",\n "Backend": {"Type": "vxlan"}}'
    assert read(answer(config=text)).config == text


def test_what_is_no_lease_of_this_network_is_told() -> None:
    export = read(
        answer(
            lease(expiration="2026-11-28T11:59:59Z"),
            lease("junk"),
            lease("10.6.1.0-24"),
            lease("10.5.35.0-24", "no JSON"),
            lease("10.5.36.0-24", expiration="soon"),
            {**lease("10.5.37.0-24"), "dir": True},
        )
    )
    assert (export.leases, export.expired) == ((), ("10.5.34.0-24",))
    assert sorted(export.left_out) == ["10.5.35.0-24", "10.5.36.0-24", "10.6.1.0-24", "junk"]


def test_a_directory_above_and_the_node_alone_will_do() -> None:
    network = json.loads(answer(lease()))["node"]
    above = {"key": "/", "dir": True, "nodes": [{"key": "/coreos.com", "dir": True, "nodes": [network]}]}
    assert (
        read(json.dumps({"action": "get", "node": above}))
        == read(json.dumps(network))
        == read(answer(lease()))
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "it is not JSON"),
        ("[]", "no answer of etcd's v2 API"),
        ('{"errorCode":100,"message":"Key not found","cause":"/coreos.com"}', "an error: Key not found"),
        ('{"kvs":[]}', "no answer of etcd's v2 API"),
        ('{"node":{"key":"/other","dir":true,"nodes":[]}}', f"no key {PREFIX}/config; it has /other"),
    ],
)
def test_another_document_is_refused(text: str, part: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(text)
    assert caught.value.subject == "export"
    assert part in caught.value.cause
    assert "/v2/keys/" in caught.value.next_step


def test_a_config_that_no_flanneld_takes_today_is_refused() -> None:
    """v0.9.1 took it; since then a network holds at least four subnets (spec 1.3)."""
    with pytest.raises(ConfigError):
        read(answer(config='{"Network":"10.5.0.0/16","SubnetLen":17}'))


def stored(key: str, value: str, config: Optional[str] = None) -> StoredNetwork:
    item = None if config is None else KeyValue(LAYOUT.config, config.encode(), 1, 1, 1, 0)
    return StoredNetwork(item, (Lease(parse_key(key), parse_value(value), 1, 1, 5),), ())


def test_an_empty_etcd_gets_all() -> None:
    export = read(answer(lease(ttl=60)))
    plan = plan_import(export, NOTHING_STORED, LAYOUT)
    assert (plan.needs_config, plan.leases, plan.kept) == (True, export.leases, ())


def test_what_the_host_has_written_since_is_kept() -> None:
    newer = '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}'
    same_config = '{"Backend":{"Type":"vxlan"},"Network":"10.5.0.0/16"}'
    plan = plan_import(read(answer(lease(ttl=60))), stored("10.5.34.0-24", newer, same_config), LAYOUT)
    assert not plan.is_needed
    assert plan.kept == ("10.5.34.0-24",)


@pytest.mark.parametrize(
    ("key", "value", "config", "part"),
    [
        ("10.5.34.0-24", OTHER, None, "10.5.34.0-24 of 192.0.2.1 against 10.5.34.0-24 of 192.0.2.9"),
        ("10.5.32.0-22", OTHER, None, "against 10.5.32.0-22 of 192.0.2.9"),
        ("10.5.77.0-24", VALUE, None, "against 10.5.77.0-24 of 192.0.2.1"),
        ("10.5.99.0-24", OTHER, '{"Network":"10.9.0.0/16"}', "is another network config"),
    ],
)  # fmt: skip
def test_a_contradiction_is_named(key: str, value: str, config: Optional[str], part: str) -> None:
    with pytest.raises(ImportConflict) as caught:
        plan_import(read(answer(lease(ttl=60))), stored(key, value, config), LAYOUT)
    assert part in caught.value.cause
    assert "nothing was written" in caught.value.next_step
