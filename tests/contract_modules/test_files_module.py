# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_files, on files of this machine."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Any, Dict

from tests.contract_modules.conftest import AnsibleHost, Host

ME = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}


def entry(path: Path, **options: Any) -> Dict[str, Any]:
    return {"path": str(path), **ME, **options}


def mode_of(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def options_for(directory: Path) -> Dict[str, Any]:
    """One of each kind of difference."""
    (directory / "old").write_text("old\n", encoding="utf-8")
    (directory / "open").write_text("same\n", encoding="utf-8")
    (directory / "gone").write_text("nobody's\n", encoding="utf-8")
    (directory / "link").symlink_to("old")
    for name in ("old", "open", "gone"):
        (directory / name).chmod(0o644)
    return {
        "directories": [entry(directory / "a" / "b", mode="0750")],
        "files": [
            entry(directory / "a" / "b" / "new", content="new\n", mode="0640"),
            entry(directory / "old", content="ä\n"),
            entry(directory / "open", content="same\n", mode="0600"),
        ],
        "absent": [str(directory / "gone"), str(directory / "link"), str(directory / "never")],
    }


def test_check_mode_and_the_real_run_show_the_same_and_a_second_run_finds_nothing(
    host: Host, tmp_path: Path
) -> None:
    options = options_for(tmp_path)
    told = host.run("flannel_files", options, "--check", "--diff")
    assert told.changed
    assert {path.name for path in tmp_path.iterdir()} == {"old", "open", "gone", "link"}

    made = host.run("flannel_files", options, "--diff")
    assert made.result["diff"] == told.result["diff"]
    assert [(one["before"], one["after"]) for one in made.result["diff"]] == [
        ("", "(directory)\n"),
        ("", "new\n"),
        ("old\n", "ä\n"),
        (f"{ME['owner']}:{ME['group']} 0644\n", f"{ME['owner']}:{ME['group']} 0600\n"),
        # It may be a secret.
        ("(file)\n", ""),
        ("(link)\n", ""),
    ]
    assert "nobody's" not in made.output
    assert made.result["paths"] == [
        str(tmp_path / name) for name in ("a/b", "a/b/new", "old", "open", "gone", "link")
    ]
    assert (tmp_path / "old").read_text(encoding="utf-8") == "ä\n"
    assert [mode_of(tmp_path / name) for name in ("a/b", "a/b/new", "old", "open")] == [
        "0750", "0640", "0644", "0600",
    ]  # fmt: skip
    # And nothing beside them, such as temporary files.
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", "new", "old", "open"}

    again = host.run("flannel_files", options, "--diff")
    assert not again.changed
    assert again.result["diff"] == []


def test_what_is_in_the_way_stays_and_so_does_all_else(host: Host, tmp_path: Path) -> None:
    (tmp_path / "busy").mkdir()
    options = {"files": [entry(tmp_path / "first", content="")], "absent": [str(tmp_path / "busy")]}
    done = host.run("flannel_files", options)
    assert done.failed
    assert done.result["error"] == "FileError"
    assert done.result["cause"] == "there is to be nothing and there is a directory"
    assert [path.name for path in tmp_path.iterdir()] == ["busy"]


def test_what_an_operator_sees(by_ansible: AnsibleHost, tmp_path: Path) -> None:
    path = tmp_path / "file"
    done = by_ansible.run(
        "flannel_files", {"files": [entry(path, content="one\ntwo\n")]}, "--check", "--diff"
    )
    assert done.changed
    assert f"+++ after: {path}" in done.output
    assert "+one\n+two\n" in done.output
