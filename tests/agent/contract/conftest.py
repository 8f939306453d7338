# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real etcd members for the contract tests: one that all tests share, and ones that a test may break."""

from __future__ import annotations

import functools

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._store import open_store

from tests.support.certs import CertificateAuthority
from tests.support.etcd import EtcdServer
from tests.support.lease_world import LeaseWorld
from tests.support.memory_store import MemoryEtcd


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than 10 seconds")


@pytest.fixture(scope="session")
def etcd(tmp_path_factory):
    """A member that every test of the run uses, each below its own prefix."""
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def server(tmp_path):
    """A member of the test's own."""
    with EtcdServer(tmp_path / "etcd") as own:
        yield own


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["etcd", "memory"])
def world(request):
    """Leases in a prefix of the test's own, on a real etcd and on its twin in memory."""
    if request.param == "etcd":
        opener = functools.partial(open_store, request.getfixturevalue("etcd").options)
    else:
        opener = MemoryEtcd().open_store
    opened = LeaseWorld(opener, f"/test/{request.node.name}")
    yield opened
    opened.close()
