# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""A password in a file that nobody else may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreError


def read_password(path: str) -> str:
    """The password in the file, without the line end that editors put there.

    Raises StoreError, whose text never holds the password: no such file, a file that group or others may read or
    write, one that cannot be read, is empty, or is not text.
    """
    subject = f"etcd password file {path}"
    try:
        with Path(path).open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except FileNotFoundError:
        raise StoreError(subject, "no such file", "correct the path or put the file there") from None
    except OSError as error:
        raise StoreError(
            subject, f"cannot be read ({error.strerror})", "make it a file that this user may read"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StoreError(
            subject,
            f"others on this host may use it (mode {mode:04o})",
            f"chmod 600 {path}, and change the password if others are on this host",
        )
    try:
        password = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise StoreError(subject, "it is not text in UTF-8", "write the password alone into it") from None
    if not password:
        raise StoreError(subject, "it is empty", "write the password into it")
    return password
