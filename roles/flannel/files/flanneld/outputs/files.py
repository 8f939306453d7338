# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing files so that neither a power cut nor what somebody left in the place does harm."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError


class FileError(FlannelError):
    """A file of ours cannot be written."""


def read_regular(path: Path) -> bytes:
    """The content of a regular file. Raises OSError, also for what is none: a pipe would have us wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return stream.read()


def write_atomically(path: Path, text: str, mode: int, directory_mode: int = 0o755) -> None:
    """Write through a temporary file in the same directory, fsync and rename: a reader sees the old content or the new.

    directory_mode: of a directory that is made for it; one that exists stays as it is. Raises FileError.
    """
    try:
        path.parent.mkdir(mode=directory_mode, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), mode)
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
    except OSError as error:
        raise FileError(
            str(path),
            f"it cannot be written: {error.strerror}",
            "check the directory, its space and its mode",
        ) from error
