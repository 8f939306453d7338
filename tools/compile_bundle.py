# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a copy of the bundle with the byte code of each of its modules beside it, for tests.

    compile_bundle.py build/flanneld.pyz build/flanneld-compiled.pyz

A thousand agents start in the tests, and each would compile for a third of a second; an emulated processor takes
ten seconds.  A Python of another version than the one that runs this overlooks the byte code.
"""

from __future__ import annotations

import io
import os
import py_compile
import sys
import tempfile
import zipfile
from pathlib import Path


def compile_bundle(bundle: bytes) -> bytes:
    """The same archive with a .pyc for every .py in it, which zipimport prefers."""
    result = io.BytesIO(bundle)
    with zipfile.ZipFile(result, "a") as archive, tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "source.py")
        for name in archive.namelist():
            if name.endswith(".py"):
                source.write_bytes(archive.read(name))
                code = py_compile.compile(
                    str(source),
                    cfile=f"{source}c",
                    dfile=name,
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
                archive.writestr(f"{name}c", Path(str(code)).read_bytes())
    return result.getvalue()


def main(bundle: Path, target: Path) -> None:
    # A rename, because another test may be starting an agent from the old one.
    new = target.with_name(f".{target.name}.{os.getpid()}")
    new.write_bytes(compile_bundle(bundle.read_bytes()))
    new.replace(target)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
