# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_network's compare-and-swap when somebody else writes between its read and its write."""

from __future__ import annotations

from typing import Iterator

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._change import (
    ATTEMPTS,
    Change,
    Wanted,
    WriteConflict,
    apply_wanted,
)
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.module_utils._store import Store, open_store

from tests.support.etcd import EtcdServer

LAYOUT = Layout.from_prefix("/coreos.com/network")
TEXT = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
WANTED = Wanted(parse_config(TEXT), TEXT, TEXT, ())


@pytest.fixture
def store(etcd: EtcdServer) -> Iterator[Store]:
    opened = open_store(etcd.options)
    yield opened
    opened.close()


def write_another(etcd: EtcdServer, number: int) -> None:
    etcd.put(LAYOUT.config, f'{{"Network":"10.{number}.0.0/16"}}')


def test_one_other_writer_in_between(etcd: EtcdServer, store: Store) -> None:
    seen = []

    def is_allowed(change: Change) -> bool:
        seen.append(change.before)
        if len(seen) == 1:
            write_another(etcd, 7)
        return True

    change, revision = apply_wanted(store, LAYOUT, WANTED, is_allowed)
    assert seen == ["", '{"Network":"10.7.0.0/16"}'], "the change is judged anew on what is there now"
    assert change.before == seen[1]
    item = store.get(LAYOUT.config)
    assert item is not None
    assert (item.value.decode(), item.mod_revision) == (TEXT, revision)


def test_another_writer_who_never_stops(etcd: EtcdServer, store: Store) -> None:
    seen = []

    def is_allowed(change: Change) -> bool:
        seen.append(change)
        write_another(etcd, len(seen))
        return True

    with pytest.raises(WriteConflict) as caught:
        apply_wanted(store, LAYOUT, WANTED, is_allowed)
    assert len(seen) == ATTEMPTS
    assert LAYOUT.config in caught.value.subject
    item = store.get(LAYOUT.config)
    assert item is not None
    assert item.value.decode() == f'{{"Network":"10.{ATTEMPTS}.0.0/16"}}', "what the other one wrote stands"


def test_not_allowed(store: Store) -> None:
    change, revision = apply_wanted(store, LAYOUT, WANTED, lambda change: False)
    assert change.needed
    assert revision == 0
    assert store.get(LAYOUT.config) is None
