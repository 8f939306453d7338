# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One agent per instance and host: two would fight about the same devices, chains and lease."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Iterator

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError

from flanneld.outputs.files import FileError

PATIENCE = 1.0
"""Seconds. A child that was being started when we replaced ourselves (execve) holds the lock until it runs."""
_PAUSE = 0.05


class AlreadyRunning(FlannelError):
    """Another agent of this instance runs on this host."""


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock of an instance, with our process id in it. Raises AlreadyRunning, FileError.

    The kernel frees it with the process, however that ends (flock(2)), and at execve, because the file is closed then.
    The file stays: whoever removed it would let a third one in while a second waits for it.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FileError(
            str(path), f"it cannot be opened: {error.strerror}", "run flanneld as root, check the directory"
        ) from error
    try:
        _lock(descriptor, path)
        _note_pid(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise AlreadyRunning(
                    f"lock {path}",
                    f"another flanneld, {_name_holder(descriptor)}, runs on this host",
                    "see systemctl status 'flanneld*', and stop one of them",
                ) from None
        time.sleep(_PAUSE)


def _name_holder(descriptor: int) -> str:
    text = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
    return f"process {text}" if text.isdigit() else "of unknown process id"


def _note_pid(descriptor: int) -> None:
    """A full disk must not keep an agent from running that holds the lock; the number is for messages only."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
