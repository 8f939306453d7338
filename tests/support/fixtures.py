# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every test with a cluster between namespaces begins and ends with; a conftest.py imports it."""

from __future__ import annotations

from typing import Generator, Iterator

import pytest

from tests.support.agent import build_bundle
from tests.support.cluster import Cluster
from tests.support.netns import enter_private_namespaces


@pytest.fixture(scope="session", autouse=True)
def private_namespaces() -> None:
    enter_private_namespaces()


@pytest.fixture(scope="session")
def bundle(private_namespaces: None) -> None:
    build_bundle()


@pytest.fixture
def cluster(bundle: None) -> Iterator[Cluster]:
    """etcd and a switch; nodes join as the test goes on."""
    with Cluster() as cluster:
        yield cluster


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, object, None]:
    """Attach what every host looked like to the report of a test that failed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed:
        report.sections.extend(Cluster.wrecks)
        for cluster in Cluster.live:
            report.sections.extend(cluster.describe())
    Cluster.wrecks.clear()
