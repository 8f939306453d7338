# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks of a role write is what its teardown takes away: a file that only one of them knows fails here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Iterator

import pytest
import yaml

from tests.support.rendering import evaluate

ROLES = Path(__file__).resolve().parents[3] / "roles"
# The modules that write files of their own, and which of their options name one; of flannel_files, which are lists of
# them.
WRITERS = {
    "ansible.builtin.copy": ("dest",),
    "ansible.builtin.file": ("path", "dest"),
    "ansible.builtin.template": ("dest",),
    "weft.flannel.flannel_tls_certificate": ("path", "key_path", "ca_path"),
    "weft.flannel.flannel_tls_request": ("path",),
    "weft.flannel.flannel_files": ("directories", "files"),
}
LISTS = {
    "flannel": [
        "__flannel_files_of_instance",
        "__flannel_directories_of_instance",
        "__flannel_files_of_docker",
        "__flannel_files_of_containers",
        "__flannel_files_of_host",
        "__flannel_directories_of_host",
        "__flannel_files_of_packages",
    ],
    "etcd": ["__etcd_files", "__etcd_files_of_archive", "__etcd_directories"],
}
# Found on the host by their patterns, as the archives are: venv-*, etcd-*, *sysctl-before.conf.
DIRECTORIES_FOUND = ("{{ __flannel_venv }}", "{{ __etcd_unpacked }}")
FOUND = {"flannel": ["__flannel_sysctl_before_file"], "etcd": []}
# Paths of the controller; and data, which has a task and a consent of its own.
ELSEWHERE = {
    "{{ flannel_status_file }}",
    "{{ flannel_migrate_vars_dir }}/{{ inventory_hostname }}.yml",
    "{{ etcd_snapshot_file }}",
    "{{ etcd_data_dir }}",
}
# What the same tasks remove; and what was here before us, which stays for the way back.
TEMPORARY = (
    "{{ __etcd_directory.path }}",
    "{{ __flannel_export.path }}",
    "/run/systemd/system/{{ __flannel_from.unit.name }}.d",
    "/etc/flanneld/upstream",
)
# Packages bring these directories.
OF_PACKAGES = {"/etc/systemd/system", "/var/lib/etcd"}
# What earlier tasks have found out.
FACTS = {"etcd_client_address": "192.0.2.1"}


def walk(tasks: list[Any]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from walk(task.get(part, []))


def list_paths(role: str) -> Iterator[str]:
    """Every path, with its Jinja, that a task of the role writes."""
    for file in sorted((ROLES / role / "tasks").glob("*.yml")):
        for task in walk(yaml.safe_load(file.read_text(encoding="utf-8"))):
            for name in WRITERS.keys() & task.keys():
                if task[name].get("state") == "absent" or task[name].keys() == {"absent"}:
                    continue
                paths = [path for option in WRITERS[name] for path in list_values(task[name].get(option, []))]
                assert paths, f"{file}: {name}"
                for item in list_items(role, task):
                    yield from (fill(path, item) for path in paths)


def list_values(value: Any) -> list[str]:
    """A path, or those of the entries of a list."""
    return [value] if isinstance(value, str) else [entry["path"] for entry in value]


def list_items(role: str, task: dict[str, Any]) -> list[Any]:
    loop = task.get("loop", [None])
    return loop if isinstance(loop, list) else list(evaluate(role, FACTS, loop.strip("{} "))[0])


def fill(path: str, item: Any) -> str:
    """The path with the item of the loop in it."""
    values = {"item": item}
    if isinstance(item, dict):
        values |= {f"item.{key}": value for key, value in item.items()}
    for name, value in values.items():
        path = path.replace("{{ " + name + " }}", str(value))
    assert not re.search(r"\bitem\b", path), path
    return path


def to_expression(path: str) -> str:
    parts = re.split(r"\{\{(.*?)\}\}", path)
    return " ~ ".join(f"({part})" if number % 2 else f"'{part}'" for number, part in enumerate(parts))


def compare(role: str, instance: str) -> tuple[set[str], set[str]]:
    """The paths that the tasks write, and those that the teardown knows."""
    paths = [
        to_expression(path)
        for path in list_paths(role)
        if path not in ELSEWHERE and not path.startswith((*TEMPORARY, *DIRECTORIES_FOUND))
    ]
    names = [*LISTS[role], *FOUND[role]]
    values = evaluate(role, {**FACTS, "flannel_instance": instance}, *paths, *names)
    known = {path.strip() for value in values[len(paths) :] for path in flatten(value)}
    return {str(path).strip() for path in values[: len(paths)]}, known


def flatten(value: Any) -> list[str]:
    return [str(value)] if isinstance(value, str) else [str(path) for path in value]


@pytest.mark.parametrize("instance", ["default", "blue"])
@pytest.mark.parametrize("role", sorted(LISTS))
def test_teardown_knows_every_path_that_is_written(role: str, instance: str) -> None:
    written, known = compare(role, instance)
    assert len(written) > 5
    assert written - known - OF_PACKAGES == set()


@pytest.mark.parametrize("role", sorted(LISTS))
def test_teardown_removes_nothing_that_is_not_written(role: str) -> None:
    """A name that is no longer in use may be a file of somebody else. Programs of ours make those excepted here."""
    by_programs = {"/run/flannel", "/run/flannel-blue", "/run/flannel/docker_opts.env"}
    by_systemd = {"/etc/systemd/system/etcd.service.requires"}
    written, known = map(set[str].union, *(compare(role, name) for name in ("default", "blue")))
    assert known - written - by_programs - by_systemd == set()


def test_what_looks_at_subnet_env_goes_before_it_does() -> None:
    """subnet.env goes with the instance. The path unit of podman's network would then start its service."""
    tasks = yaml.safe_load((ROLES / "flannel" / "tasks" / "teardown.yml").read_text(encoding="utf-8"))
    steps = [task.get("ansible.builtin.include_tasks") for task in tasks]
    assert steps.index("containers_gone.yml") < steps.index("teardown_instance.yml")
