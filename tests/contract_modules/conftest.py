# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the modules here, against a real etcd: as their users do through `ansible`, or without the seconds it takes."""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Sequence

import pytest

from tests.support.etcd import EtcdServer

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / "build" / "ac"
RUN_MODULE = ROOT / "tests" / "support" / "run_module.py"


@dataclass(frozen=True)
class Outcome:
    """result: what the module returned. output: everything that `ansible -vvv` showed."""

    failed: bool
    result: Dict[str, Any]
    output: str

    @property
    def changed(self) -> bool:
        return bool(self.result["changed"])

    @property
    def before(self) -> str:
        return str(self._diff["before"])

    @property
    def after(self) -> str:
        return str(self._diff["after"])

    @property
    def _diff(self) -> Mapping[str, str]:
        diff = self.result["diff"]
        found: Mapping[str, str] = diff[0] if isinstance(diff, list) else diff
        return found


@dataclass(frozen=True)
class Host:
    """This machine, where a module runs as Ansible's wrapper starts it, under the Python of the tests.

    prefix: what the program is started through, such as ("unshare", "--net").
    """

    directory: Path
    prefix: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, module: str, arguments: Mapping[str, Any], *flags: str) -> Outcome:
        """Run one module of the collection; flags are those of `ansible`: --check and --diff."""
        told = {"_ansible_check_mode": "--check" in flags, "_ansible_diff": "--diff" in flags}
        done = self.execute(
            [sys.executable, str(RUN_MODULE), str(find_ansible()), str(COLLECTIONS), module],
            json.dumps({**arguments, **told}),
        )
        lines = done.stdout.splitlines()
        assert lines, done.stderr
        result = json.loads(lines[-1])
        return Outcome(bool(result.get("failed")), result, done.stdout + done.stderr)

    def execute(
        self, command: Sequence[str], text: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, *command],
            env={**os.environ, **environment, **self.environment},
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )


class AnsibleHost(Host):
    """The same, seen by Ansible: options from JSON, files that action plugins carry, and all that is shown."""

    def run(self, module: str, arguments: Mapping[str, Any], *flags: str) -> Outcome:
        """As Host.run; flags may be any of `ansible`."""
        # Not the settings of whoever runs the tests.
        settings = self.directory / "ansible.cfg"
        settings.touch()
        done = self.execute(
            [
                str(find_program("ansible")), "localhost", "-vvv", "--connection=local", "--inventory=localhost,",
                f"--module-name=weft.flannel.{module}",
                f"--extra-vars=ansible_python_interpreter={sys.executable}",
                # Ansible takes an empty object for a command line.
                *([f"--args={json.dumps(arguments)}"] if arguments else []), *flags,
            ],
            "",
            ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS),
            ANSIBLE_CONFIG=str(settings),
            ANSIBLE_LOCAL_TEMP=str(self.directory / "local"),
            ANSIBLE_NOCOLOR="1",
        )  # fmt: skip
        output = done.stdout + done.stderr
        match = re.search(r"^localhost \| (?P<status>[A-Z]+)!? => (?=\{)", done.stdout, re.MULTILINE)
        assert match, output
        result, _end = json.JSONDecoder().raw_decode(done.stdout, match.end())
        return Outcome(match["status"] == "FAILED", result, output)


def find_program(name: str) -> Path:
    program = shutil.which(name)
    assert program is not None, f"these tests need {name}: put the environment's bin on PATH"
    return Path(program)


@functools.cache
def find_ansible() -> Path:
    """A directory with nothing but ansible-core's package: the host's own libraries are what modules import."""
    python = find_program("ansible").with_name("python")
    package = subprocess.run(
        [python, "-c", "import ansible; print(*ansible.__path__)"], check=True, capture_output=True, text=True
    ).stdout.strip()
    directory = Path(tempfile.mkdtemp(prefix="weft-ansible-"))
    atexit.register(shutil.rmtree, directory)
    (directory / "ansible").symlink_to(package)
    return directory


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def by_ansible(tmp_path: Path) -> AnsibleHost:
    return AnsibleHost(tmp_path)


@pytest.fixture(scope="session")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def etcd(member: EtcdServer) -> EtcdServer:
    """One member, empty at the start of each test."""
    member.ctl("del", "", "--from-key=true")
    return member
