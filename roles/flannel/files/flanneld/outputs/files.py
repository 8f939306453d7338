# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a file so that a reader sees the old content or the new one, also after a power cut."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError


class FileError(FlannelError):
    """A file of ours cannot be written."""


def write_atomically(path: Path, text: str, mode: int) -> None:
    """Write through a temporary file in the same directory, fsync and rename. Raises FileError."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
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
