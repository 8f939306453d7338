# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests on the real kernel, in network namespaces of their own: none needs root, and nothing outside is touched."""

from __future__ import annotations

from typing import List

import pytest

from tests.support.fixtures import bundle, cluster, private_namespaces, pytest_runtest_makereport

__all__ = ["bundle", "cluster", "private_namespaces", "pytest_runtest_makereport"]  # pytest finds them here


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes, because the fault it tests does")


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Slow tests first: several workers then share them, instead of one having them all at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(params=["vxlan", "host-gw"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
