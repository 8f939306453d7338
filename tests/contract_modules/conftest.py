# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the modules as their users do: through `ansible`, against a real etcd."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Sequence

import pytest

from tests.support.etcd import EtcdServer

COLLECTIONS = Path(__file__).resolve().parents[2] / "build" / "ac"


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
class AnsibleHost:
    """localhost, seen by Ansible. The modules run under the Python of the tests.

    prefix: what the program is started through, such as ("unshare", "--net").
    """

    directory: Path
    prefix: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, module: str, arguments: Mapping[str, Any], *flags: str) -> Outcome:
        """Run one module of the collection; flags are those of `ansible`, such as --check."""
        # Not the settings of whoever runs the tests.
        settings = self.directory / "ansible.cfg"
        settings.touch()
        program = shutil.which("ansible")
        assert program is not None, "these tests need ansible-core: put the environment's bin on PATH"
        done = subprocess.run(
            [
                *self.prefix, program, "localhost", "-vvv", "--connection=local", "--inventory=localhost,",
                f"--module-name=weft.flannel.{module}",
                f"--extra-vars=ansible_python_interpreter={sys.executable}",
                # Ansible takes an empty object for a command line.
                *([f"--args={json.dumps(arguments)}"] if arguments else []), *flags,
            ],
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
                "ANSIBLE_CONFIG": str(settings),
                "ANSIBLE_LOCAL_TEMP": str(self.directory / "local"),
                "ANSIBLE_NOCOLOR": "1",
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )  # fmt: skip
        output = done.stdout + done.stderr
        match = re.search(r"^localhost \| (?P<status>[A-Z]+)!? => (?=\{)", done.stdout, re.MULTILINE)
        assert match, output
        result, _end = json.JSONDecoder().raw_decode(done.stdout, match.end())
        return Outcome(match["status"] == "FAILED", result, output)


@pytest.fixture
def host(tmp_path: Path) -> AnsibleHost:
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
