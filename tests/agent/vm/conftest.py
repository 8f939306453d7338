# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that need kernel modules which not every machine has; `make vm` runs them in a guest that has them all.

    pytestmark = pytest.mark.modules("wireguard")

    def test_something(cluster: Cluster) -> None:
        cluster.configure("wireguard")
        one, two = cluster.join(1, 2)

Elsewhere, as root, `pytest tests/agent/vm` runs those whose modules the machine's kernel has.
"""

from __future__ import annotations

import os
import subprocess
from typing import List

import pytest

from tests.support.agent import build_bundle
from tests.support.fixtures import cluster, private_namespaces, pytest_runtest_makereport

__all__ = ["cluster", "private_namespaces", "pytest_runtest_makereport"]  # pytest finds them here

IN_GUEST = "WEFT_GUEST" in os.environ  # set by tools/vm/run-job


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: left to `make vm-long`, because it takes minutes in the guest")
    config.addinivalue_line(
        "markers", "modules(name...): kernel modules the test needs; in the guest they are there"
    )


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """A file's tests share its clusters, so one worker runs them all, unless the file says otherwise.

    Those with a cluster of their own go to whichever worker is free. They come first, because they take longest.
    """
    items.sort(key=_shares_a_cluster)
    for item in items:
        if _shares_a_cluster(item) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def _shares_a_cluster(item: pytest.Item) -> bool:
    return "cluster" not in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def bundle(private_namespaces: None) -> None:
    """The guest was given one."""
    if not IN_GUEST:
        build_bundle()


@pytest.fixture(scope="module", autouse=True)
def modules(request: pytest.FixtureRequest) -> None:
    """Loads what the file's mark `modules` names, before any cluster of the file. In the guest none may be missing."""
    mark = request.node.get_closest_marker("modules")
    for name in mark.args if mark else ():
        # By a shell: a machine may have no modprobe either.
        done = subprocess.run(("sh", "-c", f"modprobe {name}"), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            report = pytest.fail if IN_GUEST else pytest.skip
            report(
                f"no kernel module {name} here ({done.stderr.strip()}); in the guest of `make vm` it is there"
            )
