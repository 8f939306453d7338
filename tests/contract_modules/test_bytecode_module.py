# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_bytecode, on an archive of this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Dict

import pytest
from ansible_collections.weft.flannel.plugins.plugin_utils._bundle import pack_members

from tests.contract_modules.conftest import Host


@pytest.fixture
def options(tmp_path: Path) -> Dict[str, Any]:
    archive = tmp_path / "flanneld-0.1.0-0a.pyz"
    archive.write_bytes(pack_members({"__main__.py": b"print(1)\n", "flanneld/__init__.py": b""}))
    return {"archive": str(archive)}


def test_check_mode_and_the_real_run_show_the_same_and_a_second_run_finds_nothing(
    host: Host, options: Dict[str, Any]
) -> None:
    compiled = Path(options["archive"] + "c")
    told = host.run("flannel_bytecode", options, "--check", "--diff")
    assert told.changed
    assert not compiled.exists()

    made = host.run("flannel_bytecode", options, "--diff")
    assert made.result == told.result
    assert (made.before, made.after) == ("", "byte code for the Python of this host\n")
    assert made.result["bytecode"] == str(compiled)
    assert compiled.is_file()
    stands = compiled.stat().st_mtime_ns

    again = host.run("flannel_bytecode", options, "--diff")
    assert not again.changed
    assert again.before == again.after
    assert compiled.stat().st_mtime_ns == stands


def test_what_is_damaged_is_made_anew(host: Host, options: Dict[str, Any]) -> None:
    assert host.run("flannel_bytecode", options).changed
    compiled = Path(options["archive"] + "c")
    compiled.write_bytes(compiled.read_bytes()[:-10])
    assert host.run("flannel_bytecode", options).changed
    assert not host.run("flannel_bytecode", options).changed


def test_an_archive_that_is_to_come_is_no_error_in_check_mode_only(host: Host, tmp_path: Path) -> None:
    options = {"archive": str(tmp_path / "flanneld-9.9.9-0b.pyz")}
    assert host.run("flannel_bytecode", options, "--check").changed
    refused = host.run("flannel_bytecode", options)
    assert refused.failed
    assert refused.result["error"] == "ArchiveMissing"
    assert refused.result["msg"] == (
        f"archive {options['archive']}: there is no such file; put it there with weft.flannel.flannel_bundle"
    )
    assert list(tmp_path.iterdir()) == []


def test_another_archive_than_the_one_that_is_meant_counts_as_none(
    host: Host, options: Dict[str, Any]
) -> None:
    content = Path(options["archive"]).read_bytes()
    right = {**options, "sha256": hashlib.sha256(content).hexdigest()}
    wrong = {**options, "sha256": "0" * 64}
    assert host.run("flannel_bytecode", right).changed
    assert host.run("flannel_bytecode", wrong, "--check").changed
    refused = host.run("flannel_bytecode", wrong)
    assert refused.failed
    assert (refused.result["error"], refused.result["cause"]) == (
        "ArchiveMissing", f"its SHA-256 is not {'0' * 64}",
    )  # fmt: skip
    assert not host.run("flannel_bytecode", right).changed


def test_bad_input_is_explained_and_changes_nothing(
    host: Host, options: Dict[str, Any], tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    nobody = host.run("flannel_bytecode", {**options, "python": "/nowhere/python3"})
    assert nobody.failed
    assert nobody.result["subject"] == "Python /nowhere/python3"
    Path(options["archive"]).write_bytes(b"no archive")
    damaged = host.run("flannel_bytecode", options)
    assert damaged.failed
    assert "File is not a zip file" in damaged.result["cause"]
    assert damaged.result["subject"] == f"archive {options['archive']}"
    assert sorted(tmp_path.iterdir()) == before
    directory = host.run("flannel_bytecode", {"archive": str(tmp_path)}, "--check")
    assert directory.failed
    assert directory.result["cause"] == "it cannot be read (Is a directory)"
