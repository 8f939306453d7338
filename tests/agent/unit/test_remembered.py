# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts in the state directory: golden, there and back, and whatever else may stand in them."""

from __future__ import annotations

import json
import math
from typing import Any, Callable

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._lease import format_value, parse_key, parse_value
from flanneld.leasing import KnownPeers
from flanneld.outputs.remembered import (
    Damaged,
    RememberedIdentity,
    RememberedLease,
    format_identity,
    format_peers,
    format_remembered_lease,
    parse_identity,
    parse_peers,
    parse_remembered_lease,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.support.leases import lease
from tests.support.random_leases import dual_lease, leases

CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
IDENTITY = RememberedIdentity("0123456789abcdef" * 2, "fedcba9876543210" * 2)
LEASE = RememberedLease(CONFIG, lease("10.5.1.0-24", "192.0.2.1", born=7), 9, 1800000000.5)
PEERS = KnownPeers((lease("10.5.2.0-24", "192.0.2.2", born=5, changed=6),), 41, 9)


def test_golden_files():
    """Another agent version has to read them: what changes here needs another version number."""
    value = r"{\"PublicIP\":\"192.0.2.%d\",\"PublicIPv6\":null,\"BackendType\":\"vxlan\",\"BackendData\":"
    value += r"{\"VNI\":1,\"VtepMAC\":\"02:0a:05:0%d:00:01\"}}"
    assert format_identity(IDENTITY) == (
        '{"version":1,"id":"0123456789abcdef0123456789abcdef","machine":"fedcba9876543210fedcba9876543210"}\n'
    )
    assert format_remembered_lease(LEASE) == (
        r'{"version":1,"config":"{\"Network\":\"10.5.0.0/16\",\"Backend\":{\"Type\":\"vxlan\"}}",'
        rf'"lease":["10.5.1.0-24","{value % (1, 1)}",7,7,7],"cluster_id":9,"until":1800000000.5}}'
        "\n"
    )
    assert format_peers(PEERS) == (
        rf'{{"version":1,"cluster_id":9,"revision":41,"leases":[["10.5.2.0-24","{value % (2, 2)}",5,6,7]]}}'
        "\n"
    )


def test_a_reservation_has_no_end():
    forever = RememberedLease(CONFIG, LEASE.lease, 9, None)
    assert parse_remembered_lease(format_remembered_lease(forever)) == forever
    assert forever.stands_at(1e12)
    assert LEASE.stands_at(1800000000.4)
    assert not LEASE.stands_at(1800000000.5)


OURS = dual_lease("10.5.1.0/24", None, 1, born=7)


@pytest.mark.parametrize(
    ("acquired", "config", "now", "lost"),
    [
        (OURS, CONFIG, 1, False),
        (dual_lease("10.5.1.0/24", None, 99, born=7), CONFIG, 1, False),
        (dual_lease("10.5.1.0/24", None, 1, born=60), CONFIG, 1, True),
        (dual_lease("10.5.9.0/24", None, 1, born=60), CONFIG, 1, True),
        (dual_lease("10.5.1.0/24", None, 1, born=60), CONFIG, 100, False),
        (dual_lease("10.5.1.0/24", "fd00:5:0:1::/64", 1, born=60), CONFIG, 1, False),
        (dual_lease("10.6.1.0/24", None, 1, born=60), CONFIG.replace("10.5", "10.6"), 1, False),
    ],
    ids=["there", "new address", "put again", "other subnet", "expired", "IPv6 turned on", "other network"],
)
def test_a_lease_that_the_store_forgot_before_its_time(acquired, config, now, lost):
    remembered = RememberedLease(CONFIG, OURS, 9, 100)
    assert remembered.was_lost(acquired, config, now) is lost


# --- fuzz


@given(st.lists(leases(), max_size=8, unique_by=lambda one: one.key), st.integers(0, 2**63 - 1))
def test_peers_there_and_back(some, revision):
    known = KnownPeers(tuple(some), revision, revision)
    if all(valid_data(one) for one in some):
        assert parse_peers(format_peers(known)) == known


def valid_data(one):
    """A lease as the store gives it: null means none there."""
    return "null" not in (one.attributes.backend_data, one.attributes.backend_v6_data)


def is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_sound_lease(one: Any) -> None:
    assert parse_key(one.key) == one.subnets
    assert parse_value(format_value(one.attributes)) == one.attributes
    assert all(is_number(number) and 0 <= number < 2**63 for number in (one.create_revision, one.lease_id))


def is_sound(value: Any) -> None:
    """Nothing that the agent would stumble over later."""
    if isinstance(value, RememberedIdentity):
        int(value.id, 16)
        assert len(value.id) == 32
    elif isinstance(value, RememberedLease):
        value.config.encode()
        parse_config(value.config)
        is_sound_lease(value.lease)
        assert is_number(value.cluster_id)
        assert value.until is None or (isinstance(value.until, float) and math.isfinite(value.until))
        value.stands_at(0.0)
    else:
        assert is_number(value.revision)
        assert is_number(value.cluster_id)
        assert len({one.key for one in value.leases}) == len(value.leases)
        for one in value.leases:
            is_sound_lease(one)


READERS = [
    (parse_identity, format_identity(IDENTITY)),
    (parse_remembered_lease, format_remembered_lease(LEASE)),
    (parse_peers, format_peers(PEERS)),
]
readers = pytest.mark.parametrize(("read", "good"), READERS, ids=["identity", "lease", "peers"])


def read_anyhow(read: Callable[[str], Any], text: str) -> None:
    try:
        value = read(text)
    except Damaged:
        return
    is_sound(value)


@readers
@given(text=st.text())
def test_any_text(read, good, text):
    read_anyhow(read, text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["10.5.2.0-24", "{}", "a" * 32, '{"Network":"10.5.0.0/16"}']),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@readers
@given(data=st.data())
def test_every_member_may_be_anything(read, good, data):
    document = json.loads(good)
    for key in data.draw(st.sets(st.sampled_from(sorted(document)), min_size=1)):
        document[key] = data.draw(JSON)
    read_anyhow(read, json.dumps(document))


@given(position=st.integers(0, 4), value=JSON)
@pytest.mark.parametrize(
    ("read", "path"), [(parse_peers, ("leases", 0)), (parse_remembered_lease, ("lease",))]
)
def test_every_part_of_a_lease_may_be_anything(read, path, position, value):
    document = json.loads(next(text for reader, text in READERS if reader is read))
    row = document
    for step in path:
        row = row[step]
    row[position] = value
    read_anyhow(read, json.dumps(document))


@readers
@given(data=st.data())
def test_bytes_changed_lost_or_doubled(read, good, data):
    text = list(good)
    for _change in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(text) - 1))
        what = data.draw(st.sampled_from(["drop", "double", "replace", "cut"]))
        if what == "drop" and len(text) > 1:
            del text[where]
        elif what == "double":
            text[where:where] = text[where:]
        elif what == "replace":
            text[where] = data.draw(st.characters())
        elif where:
            del text[where:]
    read_anyhow(read, "".join(text))


@readers
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 100_000,
        '{"version":1e999}',
        '{"version":true}',
        '{"version":1.0}',
    ],
    ids=["arrays", "objects", "digits", "infinite", "true", "float"],
)
def test_texts_that_break_readers(read, good, text):
    with pytest.raises(Damaged):
        read(text)


@pytest.mark.parametrize("until", ["NaN", "Infinity", "-1", "1e400", "9" * 400, "true", '"1"', "[]"])
def test_a_time_is_a_time(until):
    text = format_remembered_lease(LEASE).replace("1800000000.5", until)
    with pytest.raises(Damaged):
        parse_remembered_lease(text)


@pytest.mark.parametrize(
    "config",
    ["", "10.5.0.0/16", "{}", '{"Network":"10.5.0.0/99"}', CONFIG[:-1] + ',"Note":"\ud800"}', None, {}],
    ids=["empty", "no JSON", "no network", "no CIDR", "half a surrogate pair", "null", "object"],
)
def test_a_network_config_that_cannot_be_used_is_damage(config):
    document = json.loads(format_remembered_lease(LEASE))
    document["config"] = config
    with pytest.raises(Damaged):
        parse_remembered_lease(json.dumps(document))


@pytest.mark.parametrize(
    "row",
    [
        ["x10.5.2.0-24", "{}", 5, 6, 7],
        ["10.5.2.0-024", "{}", 5, 6, 7],
        ["10.5.2.1-24", "{}", 5, 6, 7],
        ["10.5.2.0-24", "", 5, 6, 7],
        ["10.5.2.0-24", '{"PublicIP":"here"}', 5, 6, 7],
        ["10.5.2.0-24", "{}", True, 6, 7],
        ["10.5.2.0-24", "{}", 5, -1, 7],
        ["10.5.2.0-24", "{}", 5, 6, 1 << 63],
        ["10.5.2.0-24", "{}", 5, 6, 7.0],
        ["10.5.2.0-24", "{}", 5, 6],
        ["10.5.2.0-24", None, 5, 6, 7],
        "10.5.2.0-24",
    ],
)
def test_what_is_no_lease(row):
    good = ["10.5.3.0-24", "{}", 5, 6, 7]
    with pytest.raises(Damaged):
        parse_peers(json.dumps({"version": 1, "cluster_id": 1, "revision": 1, "leases": [good, row]}))


def test_a_lease_twice_is_damage():
    text = format_peers(KnownPeers(PEERS.leases * 2, 41, 9))
    with pytest.raises(Damaged, match="a lease is in it twice"):
        parse_peers(text)
