# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""A copy of an archive of Python programs with the byte code of each of its modules, so that no start compiles.

Python takes the byte code that its own version has made, and compiles the source beside it where that is of another
version. So this is to be run by the Python that is to run the archive. It needs nothing but the standard library:

    python3 _bytecode.py compile flanneld.pyz flanneld.pyzc
    python3 _bytecode.py compare flanneld.pyz flanneld.pyzc
"""

from __future__ import annotations

import importlib.util
import io
import os
import py_compile
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Dict

CURRENT, OUTDATED = "current", "outdated"


def compile_archive(archive: bytes) -> bytes:
    """The same archive with a .pyc for every .py in it, which zipimport prefers. Raises BadZipFile."""
    result = io.BytesIO(archive)
    sources = _read_members(archive)
    with zipfile.ZipFile(result, "a") as members, tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "source.py")
        for name, content in sources.items():
            if name.endswith(".py"):
                source.write_bytes(content)
                code = py_compile.compile(
                    str(source),
                    cfile=f"{source}c",
                    dfile=name,
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
                members.writestr(f"{name}c", Path(str(code)).read_bytes())
    return result.getvalue()


def is_current(archive: bytes, compiled: bytes) -> bool:
    """Whether the one was made from the other, by this version of Python. Raises BadZipFile for the archive."""
    wanted = _read_members(archive)
    try:
        present = _read_members(compiled)
    except (zipfile.BadZipFile, OSError):
        return False
    code = {f"{name}c" for name in wanted if name.endswith(".py")}
    return (
        present.keys() == wanted.keys() | code
        and all(present[name] == content for name, content in wanted.items())
        and all(present[name].startswith(importlib.util.MAGIC_NUMBER) for name in code)
    )


def _read_members(archive: bytes) -> Dict[str, bytes]:
    """Raises BadZipFile, also when the content is not what its checksum says."""
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        return {name: members.read(name) for name in members.namelist()}


def compare(archive: Path, compiled: Path) -> str:
    """CURRENT or OUTDATED. Raises OSError, BadZipFile when the archive cannot be read."""
    present = compiled.read_bytes() if compiled.is_file() else b""
    return CURRENT if is_current(archive.read_bytes(), present) else OUTDATED


def write(archive: Path, compiled: Path) -> str:
    """Make the copy with the byte code. Raises OSError, BadZipFile."""
    handle, temporary = tempfile.mkstemp(dir=compiled.parent, prefix=f".{compiled.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(compile_archive(archive.read_bytes()))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        # A rename, because a program may be starting from the old one.
        Path(temporary).replace(compiled)
    except BaseException:
        Path(temporary).unlink()
        raise
    return CURRENT


ACTIONS = {"compare": compare, "compile": write}

if __name__ == "__main__":
    action, *paths = sys.argv[1:]
    sys.stdout.write(f"{ACTIONS[action](*map(Path, paths))}\n")
