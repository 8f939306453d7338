# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed from where: packages of the distribution, and Python libraries beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.rendering import evaluate

TASKS_OF_ETCD = Path(__file__).resolve().parents[3] / "roles/etcd/tasks"
ASKED = ["python3-etcd3", "python3-pyroute2", "iproute2"]
SYSTEMS: dict[str, dict[str, str]] = {
    "Debian 12": {"os_family": "Debian", "distribution": "Debian", "distribution_major_version": "12"},
    "Debian 13": {"os_family": "Debian", "distribution": "Debian", "distribution_major_version": "13"},
    "Debian 14": {"os_family": "Debian", "distribution": "Debian", "distribution_major_version": "14"},
    "Ubuntu 22.04": {"os_family": "Debian", "distribution": "Ubuntu", "distribution_major_version": "22"},
    "Ubuntu 24.04": {"os_family": "Debian", "distribution": "Ubuntu", "distribution_major_version": "24"},
    "Rocky 9": {"os_family": "RedHat", "distribution": "Rocky", "distribution_major_version": "9"},
    "Arch": {"os_family": "Archlinux", "distribution": "Archlinux", "distribution_major_version": ""},
}
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
    facts = {"ansible_facts": SYSTEMS["Debian 12"]}
    variables = {**facts, "flannel_packages": ASKED, "flannel_python": source}
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


@pytest.mark.parametrize(
    ("system", "source", "docker", "base"),
    [
        ("Debian 12", "packages", ["docker.io"], ["python3-etcd3", "iproute2", "procps", "iptables"]),
        (
            "Debian 13",
            "packages",
            ["docker.io", "docker-cli"],
            ["python3-etcd3", "iproute2", "procps", "iptables"],
        ),
        (
            "Debian 14",
            "packages",
            ["docker.io", "docker-cli"],
            ["python3-etcd3", "iproute2", "procps", "iptables"],
        ),
        ("Ubuntu 22.04", "packages", ["docker.io"], ["python3-etcd3", "iproute2", "procps", "iptables"]),
        ("Ubuntu 24.04", "packages", ["docker.io"], ["python3-etcd3", "iproute2", "procps", "iptables"]),
        (
            "Rocky 9",
            "venv",
            ["docker-ce", "docker-ce-cli", "containerd.io"],
            ["iproute", "procps-ng", "iptables-nft", "python3-setuptools"],
        ),
    ],
)
def test_packages_have_the_names_of_the_system(
    system: str, source: str, docker: list[str], base: list[str]
) -> None:
    asked = ["python3-etcd3", "iproute2", "procps", "iptables"]
    for packages, names in ((asked, base), (["docker.io"], docker)):
        variables = {"ansible_facts": SYSTEMS[system], "flannel_python": source, "flannel_packages": packages}
        found, problem = evaluate("flannel", variables, "__flannel_package_names", "__flannel_system_problem")
        assert [name for name in found if source == "packages" or name in names] == names
        assert problem == ""


@pytest.mark.parametrize(
    ("system", "told"),
    [
        ("Arch", ["has Archlinux", "Debian 12", "Ubuntu 22.04", "Red Hat Enterprise Linux 9"]),
        ("Rocky 9", ["has Rocky 9", "python3-etcd3", "flannel_python: venv, or wheelhouse"]),
    ],
)
def test_a_system_that_cannot_be_served_is_told_what_can(system: str, told: list[str]) -> None:
    (problem,) = evaluate("flannel", {"ansible_facts": SYSTEMS[system]}, "__flannel_system_problem")
    assert [words for words in told if words not in problem] == []


@pytest.mark.parametrize(
    ("archive", "program", "unpacked"),
    [
        ("", "/usr/bin/etcd", "/usr/local/lib/etcd-"),
        ("/srv/etcd.tar.gz", "/usr/local/bin/etcd", "/usr/local/lib/etcd-0123456789ab"),
        ("https://example.org/etcd.tar.gz", "/usr/local/bin/etcd", "/usr/local/lib/etcd-0123456789ab"),
    ],
)
def test_an_etcd_from_an_archive_is_beside_what_packages_have(
    archive: str, program: str, unpacked: str
) -> None:
    variables = {
        "etcd_archive": archive,
        "etcd_archive_checksum": "0123456789ab" * 5 + "0123" if archive else "",
    }
    assert evaluate("etcd", variables, "__etcd_program_file", "__etcd_unpacked") == [program, unpacked]


def test_the_user_of_a_package_is_left_as_it_is() -> None:
    """usermod refuses to change one whose process runs, such as that of an etcd that is to get TLS."""
    tasks = [
        task
        for file in sorted(TASKS_OF_ETCD.glob("*.yml"))
        for task in yaml.safe_load(file.read_text(encoding="utf-8"))
        if "ansible.builtin.user" in task
    ]
    debian = ["x", "102", "107", "", "/var/lib/etcd/", "/usr/sbin/nologin"]
    for present, made in ((debian, False), (None, True)):
        found = {"__etcd_user": {"ansible_facts": {"getent_passwd": {"etcd": present}}}}
        assert [evaluate("etcd", found, task.get("when", "true"))[0] for task in tasks] == [made]
