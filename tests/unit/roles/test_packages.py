# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed from where: packages of the distribution, and Python libraries beside them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rendering import evaluate

ASKED = ["python3-etcd3", "python3-pyroute2", "iproute2"]
DEBIAN_12 = {"stdout": "Python 3.11 on linux-x86_64, glibc 2.36"}
DEBIAN_13 = {"stdout": "Python 3.13 on linux-x86_64, glibc 2.41"}


@pytest.mark.parametrize(
    ("source", "installed"),
    [
        ("packages", ASKED),
        ("venv", ["iproute2", "python3-venv", "python3-packaging"]),
        ("wheelhouse", ["iproute2", "python3-venv", "python3-packaging"]),
    ],
)
def test_libraries_are_packages_or_come_with_the_environment(source: str, installed: list[str]) -> None:
    variables = {"flannel_packages": ASKED, "flannel_python": source}
    assert evaluate("flannel", variables, "__flannel_package_names") == [installed]


def test_every_library_that_is_a_package_is_pinned_too() -> None:
    packages, pinned = evaluate("flannel", {}, "__flannel_library_packages", "__flannel_pinned")
    names = {line.split("==")[0].replace("_", "-").lower() for line in pinned.splitlines() if "==" in line}
    assert {name.removeprefix("python3-") for name in packages} <= names


@pytest.mark.parametrize(("source", "hashes"), [("venv", True), ("wheelhouse", False)])
def test_what_comes_from_an_index_has_hashes(source: str, hashes: bool) -> None:
    (wanted,) = evaluate("flannel", {"flannel_python": source}, "__flannel_wanted_libraries")
    lines = [line for line in wanted.splitlines() if line and not line.startswith("#")]
    pins = [number for number, line in enumerate(lines) if "==" in line]
    assert len(pins) > 5
    assert all(("--hash=sha256:" in lines[number + 1]) == hashes for number in pins[:-1])
    assert ("--hash" in wanted) == ("\\\n" in wanted) == hashes


def test_another_python_is_another_environment() -> None:
    def name(python: dict[str, Any]) -> str:
        variables = {"flannel_python": "venv", "__flannel_host_python": python}
        return str(evaluate("flannel", variables, "__flannel_python")[0])

    assert name(DEBIAN_12) != name(DEBIAN_13)
    assert name(DEBIAN_12).startswith("/usr/lib/flanneld/venv-")
    assert name(DEBIAN_12).endswith("/bin/python")


def test_what_nothing_runs_on_any_more_is_left_of_former_ways() -> None:
    (current,) = evaluate("flannel", {"__flannel_host_python": DEBIAN_12}, "__flannel_venv")
    old = "/usr/lib/flanneld/venv-000000000000"
    files = [
        {"path": "/usr/lib/flanneld/flanneld-0.1.0-4070429fe740.pyz", "isdir": False},
        {"path": old, "isdir": True},
        {"path": current, "isdir": True},
    ]
    variables = {"__flannel_archives": {"files": files}, "__flannel_host_python": DEBIAN_12}
    for source, left in (("venv", [old]), ("packages", [old, current])):
        (found,) = evaluate("flannel", {**variables, "flannel_python": source}, "__flannel_venvs_left")
        assert sorted(found) == left
