# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What flannel_files makes of its options and of what it finds, on files of this machine."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any, Dict, List

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import FileError, FlannelError, OptionError
from ansible_collections.weft.flannel.plugins.module_utils._files import (
    Step,
    list_wanted,
    plan,
    read_access,
    take,
)

ME = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}


def a_file(path: Path, **changes: Any) -> Dict[str, Any]:
    return {"path": str(path), "content": "ours\n", "mode": "0644", **ME, **changes}


def a_directory(path: Path) -> Dict[str, Any]:
    return {"path": str(path), "mode": "0755", **ME}


def bring(**options: List[Any]) -> List[Step]:
    steps = plan(list_wanted({"directories": [], "files": [], "absent": [], **options}))
    for step in steps:
        take(step, lambda path: None)
    return steps


def test_a_link_to_a_directory_is_as_good_as_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real").chmod(0o755)
    (tmp_path / "link").symlink_to("real")
    assert bring(directories=[a_directory(tmp_path / "link")]) == []


def test_a_link_to_a_file_is_replaced_and_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs\n", encoding="utf-8")
    (tmp_path / "link").symlink_to("theirs")
    (step,) = bring(files=[a_file(tmp_path / "link")])
    assert (step.diff["before"], step.diff["after"]) == ("(link)\n", "ours\n")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "theirs").read_text(encoding="utf-8") == "theirs\n"


def test_what_is_no_text_is_replaced_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff\n")
    (step,) = bring(files=[a_file(tmp_path / "file")])
    assert step.diff["before"] == "\ufffd\n"


def test_a_file_is_written_to_be_read_by_those_who_should(tmp_path: Path) -> None:
    bring(files=[a_file(tmp_path / "file", mode="0640")])
    assert str(read_access(str(tmp_path / "file"))) == f"{ME['owner']}:{ME['group']} 0640"
    assert read_access(str(tmp_path / "none")) is None


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"files": ["busy"]}, "there is to be a file and there is a directory"),
        ({"absent": ["busy"]}, "there is to be nothing and there is a directory"),
        ({"directories": ["full"]}, "there is to be a directory and there is a file"),
        ({"files": ["pipe"]}, "there is to be a file and there is something else"),
    ],
)
def test_what_is_in_the_way_is_left_alone(tmp_path: Path, options: Dict[str, List[str]], cause: str) -> None:
    (tmp_path / "busy").mkdir()
    (tmp_path / "full").touch()
    os.mkfifo(tmp_path / "pipe")
    make = {"files": a_file, "directories": a_directory, "absent": str}
    given = {kind: [make[kind](tmp_path / name) for name in names] for kind, names in options.items()}
    given.setdefault("files", []).insert(0, a_file(tmp_path / "first"))
    with pytest.raises(FileError) as raised:
        bring(**given)
    assert raised.value.cause == cause
    assert not (tmp_path / "first").exists()


@pytest.mark.parametrize(
    ("change", "kind", "cause"),
    [
        ({"path": "etc/x"}, OptionError, "not a whole path"),
        ({"path": "/etc/"}, OptionError, "not a whole path"),
        # what YAML makes of an unquoted 0644
        ({"mode": "420"}, OptionError, "mode 420 is not four octal digits"),
        ({"owner": "nobody-of-that-name"}, FileError, "no such owner"),
        ({"path": "/nowhere/at/all"}, FileError, "cannot be changed (No such file or directory)"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing_behind(
    tmp_path: Path, change: Dict[str, str], kind: type[FlannelError], cause: str
) -> None:
    entry = {**a_file(tmp_path / "file"), **change}
    with pytest.raises(kind) as raised:
        bring(files=[entry])
    assert cause in raised.value.cause
    assert entry["path"] in raised.value.subject
    assert list(tmp_path.iterdir()) == []


def test_a_path_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="named twice"):
        bring(files=[a_file(tmp_path / "file")], absent=[str(tmp_path / "file")])
