# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher that other tests believe: it sees what was so for one revision only."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster
from tests.support.node import PREFIX
from tests.support.overlap_watcher import assert_no_overlap


def put(cluster: Cluster, key: str, number: int) -> None:
    value = f'{{"PublicIP":"192.0.2.{number}","PublicIPv6":null,"BackendType":"host-gw"}}'
    cluster.put(f"subnets/{key}", value)


def delete(cluster: Cluster, key: str) -> None:
    cluster.etcd.delete(f"{PREFIX}/subnets/{key}")


def test_an_overlap_of_one_revision_is_seen(cluster: Cluster) -> None:
    put(cluster, "10.5.1.0-24", 1)
    put(cluster, "10.5.2.0-24", 2)
    assert_no_overlap(cluster)
    put(cluster, "10.5.0.0-23", 3)
    delete(cluster, "10.5.0.0-23")
    cluster.etcd.restart()
    with pytest.raises(AssertionError, match=r"10\.5\.0\.0-23 of 192\.0\.2\.3 overlaps"):
        assert_no_overlap(cluster)


def test_a_key_passes_to_another_host_only_when_it_was_free(cluster: Cluster) -> None:
    put(cluster, "10.5.1.0-24", 1)
    put(cluster, "10.5.1.0-24", 1)
    delete(cluster, "10.5.1.0-24")
    put(cluster, "10.5.1.0-24", 2)
    history = assert_no_overlap(cluster)
    assert history.holders == {"10.5.1.0-24": ["192.0.2.1", "192.0.2.2"]}
    assert history.writes == {"10.5.1.0-24": 3}
    put(cluster, "10.5.1.0-24", 3)
    with pytest.raises(AssertionError, match=r"passed from 192\.0\.2\.2 to 192\.0\.2\.3"):
        assert_no_overlap(cluster)
