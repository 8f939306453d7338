# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive with byte code beside it: it is used where it can be, and nothing depends on it."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._bytecode import compare, compile_archive, write
from ansible_collections.weft.flannel.plugins.plugin_utils._bundle import ENTRY_POINT, pack_members

CLI = b"def main():\n    print(__file__)\n    return 3\n"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "flanneld-1.2.3-0a.pyz"
    path.write_bytes(
        pack_members({"__main__.py": ENTRY_POINT, "flanneld/__init__.py": b"", "flanneld/cli.py": CLI})
    )
    # As on a host.
    (tmp_path / "flanneld.pyz").symlink_to(path.name)
    return path


def start(archive: Path) -> str:
    """What its main module says that it was loaded from."""
    run = subprocess.run(
        [sys.executable, "-I", archive.with_name("flanneld.pyz")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (3, "")
    return run.stdout.strip()


def replace_magic(compiled: bytes) -> bytes:
    """The byte code of another version of Python."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(compiled)) as before, zipfile.ZipFile(result, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, b"\0\0\r\n" + content[4:] if name.endswith(".pyc") else content)
    return result.getvalue()


def test_byte_code_is_taken_where_it_is_there(archive: Path) -> None:
    compiled = Path(f"{archive}c")
    assert start(archive).endswith("flanneld.pyz/flanneld/cli.py")
    assert compare(archive, compiled) == "outdated"
    assert write(archive, compiled) == "current"
    assert compare(archive, compiled) == "current"
    assert start(archive) == f"{compiled}/flanneld/cli.pyc"
    assert compiled.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in archive.parent.glob("*.pyzc")) == [compiled.name]


@pytest.mark.parametrize("length", [0, 1, 2000], ids=["empty", "a byte", "cut off"])
def test_a_program_starts_beside_broken_byte_code(archive: Path, length: int) -> None:
    compiled = Path(f"{archive}c")
    compiled.write_bytes(compile_archive(archive.read_bytes())[:length])
    assert compare(archive, compiled) == "outdated"
    assert start(archive).endswith("flanneld.pyz/flanneld/cli.py")


def test_a_program_starts_beside_the_byte_code_of_another_python(archive: Path) -> None:
    compiled = Path(f"{archive}c")
    compiled.write_bytes(replace_magic(compile_archive(archive.read_bytes())))
    assert compare(archive, compiled) == "outdated"
    assert start(archive) == f"{compiled}/flanneld/cli.py"


def test_byte_code_of_another_source_is_outdated(archive: Path) -> None:
    compiled = Path(f"{archive}c")
    write(archive, compiled)
    archive.write_bytes(pack_members({"__main__.py": ENTRY_POINT, "flanneld/cli.py": CLI}))
    assert compare(archive, compiled) == "outdated"


def test_all_is_compiled_and_the_source_stays(archive: Path) -> None:
    packed = zipfile.ZipFile(archive)
    compiled = zipfile.ZipFile(io.BytesIO(compile_archive(archive.read_bytes())))
    sources = {name for name in packed.namelist() if name.endswith(".py")}
    assert set(compiled.namelist()) == set(packed.namelist()) | {f"{name}c" for name in sources}
    assert all(compiled.read(name) == packed.read(name) for name in packed.namelist())
    assert all(compiled.read(f"{name}c").startswith(importlib.util.MAGIC_NUMBER) for name in sources)
