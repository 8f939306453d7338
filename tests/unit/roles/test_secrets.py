# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of an operator are in no output of a play, however much of it one asks for.

Where they are on hosts, the Molecule scenarios `site` and `site-secure` look."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = ROOT / "roles"
PLANTED = {
    "flannel_etcd_password": "planted-etcd-password",
    "flannel_wireguard_psk": "cGxhbnRlZC13aXJlZ3VhcmQtcHJlLXNoYXJlZC1rZXk=",
    "flannel_ipsec_psk": "planted-ipsec-pre-shared-key",
}
WRITERS = {"password.yml": "flannel_etcd_password", "wireguard_psk.yml": "flannel_wireguard_psk"}
# These say that there is a secret, and not which.
HARMLESS = re.compile(rf"\b({'|'.join(PLANTED)})\s*\|\s*(length|ternary)\b")
# The modules that take a password declare it as one.
DECLARED = {"password"}


def walk(tasks: list[Any]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from walk(task.get(part, []))


def find_secrets(task: dict[str, Any]) -> set[str]:
    """The secrets that the arguments of a task hold, apart from those in options that are declared secret."""
    module, arguments = next((name, value) for name, value in task.items() if "." in name or name == "block")
    if module == "ansible.builtin.assert":
        # A message that only names the variable.
        arguments = {
            option: value for option, value in arguments.items() if option == "that" or "{{" in str(value)
        }
    if isinstance(arguments, dict) and module.startswith("weft.flannel."):
        arguments = {option: value for option, value in arguments.items() if option not in DECLARED}
    text = HARMLESS.sub("", "" if module == "block" else json.dumps([arguments, task.get("loop")]))
    return {name for name in PLANTED if re.search(rf"\b{name}\b", text)}


def test_every_task_that_holds_a_secret_is_silent() -> None:
    loud, silent = [], 0
    for file in sorted([*ROLES.glob("*/tasks/*.yml"), *ROLES.glob("*/handlers/*.yml")]):
        for task in walk(yaml.safe_load(file.read_text(encoding="utf-8"))):
            if find_secrets(task):
                silent += task.get("no_log") is True
                loud += [] if task.get("no_log") is True else [f"{file.name}: {task['name']}"]
    assert loud == []
    assert silent >= len(PLANTED)


def test_every_secret_is_declared_one() -> None:
    file = ROLES / "flannel/meta/argument_specs.yml"
    options = yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
    assert {name for name, option in options.items() if option.get("no_log")} == set(PLANTED)


@pytest.mark.parametrize("tasks", sorted(WRITERS))
def test_no_secret_in_the_output_of_a_play(tmp_path: Path, tasks: str) -> None:
    """In check mode it shows the same as in the real run, and writes nothing on the machine of the tests."""
    role = {"name": "weft.flannel.flannel", "tasks_from": tasks}
    (tmp_path / "play.yml").write_text(
        json.dumps(
            [
                {
                    "hosts": "localhost",
                    "gather_facts": False,
                    "vars": {
                        **PLANTED,
                        "ansible_python_interpreter": sys.executable,
                        "flannel_instance": "planted",
                        "flannel_etcd_username": "somebody",
                    },
                    "tasks": [
                        {"ansible.builtin.include_role": role},
                        # Before the handlers, which would look for a unit.
                        {"ansible.builtin.meta": "end_play"},
                    ],
                }
            ]
        ),
        encoding="utf-8",
    )
    (tmp_path / "ansible.cfg").touch()
    program = shutil.which("ansible-playbook")
    assert program is not None
    done = subprocess.run(
        [program, "-vvv", "--check", "--diff", "--connection=local", "--inventory=localhost,", "play.yml"],
        cwd=tmp_path,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build/ac"),
            "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "output has been hidden" in output
    for secret in PLANTED.values():
        assert secret not in output
