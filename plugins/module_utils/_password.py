# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""A password or key in a file that nobody else may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Type

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError, StoreError


def read_password(path: str) -> str:
    """The etcd password in the file. Raises StoreError as read_secret does."""
    return read_secret(path, "password", f"etcd password file {path}", StoreError)


def read_secret(path: str, what: str, subject: str, kind: Type[FlannelError]) -> str:
    """What is in the file, without the line end that editors put there.

    what: what it holds, for messages; subject: what they name. Raises `kind`, whose text never holds the secret: no
    such file, a file that group or others may read or write, one that cannot be read, is empty, or is not text.
    """
    try:
        with Path(path).open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except FileNotFoundError:
        raise kind(subject, "no such file", "correct the path or put the file there") from None
    except OSError as error:
        raise kind(
            subject, f"cannot be read ({error.strerror})", "make it a file that this user may read"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise kind(
            subject,
            f"others on this host may use it (mode {mode:04o})",
            f"chmod 600 {path}, and change the {what} if others are on this host",
        )
    try:
        secret = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise kind(subject, "it is not text in UTF-8", f"write the {what} alone into it") from None
    if not secret:
        raise kind(subject, "it is empty", f"write the {what} into it")
    return secret
