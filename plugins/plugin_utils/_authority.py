# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The certificate authority in a directory of the controller: ca.crt and ca.key, for one user only."""

from __future__ import annotations

import contextlib
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Optional

from ansible_collections.weft.flannel.plugins.module_utils._errors import CertificateError
from ansible_collections.weft.flannel.plugins.module_utils._x509 import (
    Authority,
    make_authority_certificate,
    make_key,
    read_authority,
)


def find_authority(directory: Path, now: datetime) -> Optional[Authority]:
    """The authority in the directory, None if there is none. Raises CertificateError for one that cannot sign."""
    certificate, key = _read(directory / "ca.crt"), _read(directory / "ca.key")
    if certificate is None:
        # A key alone is what an interrupted run leaves.
        return None
    subject = f"certificate authority {directory}"
    if key is None:
        raise CertificateError(
            subject,
            "ca.crt is there and ca.key is not",
            "bring ca.key from where the authority was made, or move the directory away to have a new one made",
        )
    mode = (directory / "ca.key").stat().st_mode & 0o777
    if mode & 0o077:
        raise CertificateError(
            subject,
            f"others on this controller may use ca.key (mode {mode:04o})",
            f"chmod 600 {directory / 'ca.key'}, and have a new authority made if others are on this controller",
        )
    return read_authority(certificate, key, subject, now)


def make_authority(directory: Path, common_name: str, days: int, now: datetime) -> Authority:
    """Make the authority and return it. A key that lies there already is used. Raises CertificateError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (directory / "ca.key").exists():
            _write(directory / "ca.key", make_key())
        key = (directory / "ca.key").read_bytes()
        # It often lies beside an inventory that is kept in git.
        _write(directory / ".gitignore", b"*\n")
        _write(directory / "ca.crt", make_authority_certificate(key, common_name, days, now).encode())
    except OSError as error:
        raise _explain(directory, error) from None
    made = find_authority(directory, now)
    if made is None:
        raise AssertionError("the authority was written and is not there")
    return made


def _read(path: Path) -> Optional[bytes]:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _explain(path, error) from None


def _write(path: Path, content: bytes) -> None:
    """Whole, or not at all; readable for this user only."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def _explain(path: Path, error: OSError) -> CertificateError:
    return CertificateError(
        f"certificate authority {path}",
        f"it cannot be used ({error.strerror})",
        "give a directory that the user who runs the play may write to",
    )
