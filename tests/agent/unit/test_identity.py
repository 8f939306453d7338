# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machine this is: the hash of the machine-id is systemd's own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from flanneld.outputs.identity import APPLICATION, name_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.skipif(shutil.which("systemd-id128") is None, reason="systemd's own answer is compared with")
def test_the_hash_is_what_systemd_makes_of_this_machine():
    theirs = subprocess.run(
        ["systemd-id128", "machine-id", f"--app-specific={APPLICATION}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if theirs.returncode != 0:
        pytest.skip(f"this machine has no machine-id: {theirs.stderr}")
    assert name_machine(Path("/etc/machine-id")) == theirs.stdout.strip()


def test_vector():
    """What systemd-id128 of systemd 252 prints for this machine-id, so that the binding survives an upgrade of us."""
    assert name_machine_of("00112233445566778899aabbccddeeff\n") == "93e72482c9b44b818a1b8e874c79dcbf"


@pytest.mark.parametrize("text", ["", "\n", "uninitialized\n", "0011", "g" * 32, "0" * 33])
def test_what_is_no_machine_id(text):
    assert name_machine_of(text) == ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40))
def test_any_bytes(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "machine-id"
    path.write_bytes(content)
    assert len(name_machine(path)) in (0, 32)


def name_machine_of(text: str) -> str:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        return name_machine(Path(file.name))
