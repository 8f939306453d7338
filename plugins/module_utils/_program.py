# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The byte code of flanneld on this host, made and judged by the Python that runs flanneld."""

from __future__ import annotations

import hashlib
import inspect
import os
from pathlib import Path
from typing import Dict, Optional

from ansible_collections.weft.flannel.plugins.module_utils import _bytecode
from ansible_collections.weft.flannel.plugins.module_utils._docker_host import CommandRunner
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError


class BytecodeError(FlannelError):
    """There is nothing to compile, or nobody who could."""


class ArchiveMissing(BytecodeError):
    """The archive is not there, or there is another one."""


def name_compiled(archive: str) -> str:
    """Where the archive itself looks for it: ENTRY_POINT in plugins/plugin_utils/_bundle.py."""
    return f"{archive}c"


def compare(host: CommandRunner, python: str, archive: str) -> bool:
    """Whether the byte code is there, of this archive and for this Python. Raises BytecodeError."""
    return _run(host, python, "compare", archive) == _bytecode.CURRENT


def write(host: CommandRunner, python: str, archive: str) -> None:
    """Make the byte code. Raises BytecodeError."""
    _run(host, python, "compile", archive)


def require_archive(archive: str, sha256: Optional[str]) -> None:
    """sha256: that it must have, in hexadecimal; None: any will do. Raises ArchiveMissing; BytecodeError when it cannot
    be read."""
    subject, step = f"archive {archive}", "put it there with weft.flannel.flannel_bundle"
    try:
        content = Path(archive).read_bytes()
    except FileNotFoundError:
        raise ArchiveMissing(subject, "there is no such file", step) from None
    except OSError as error:
        cause = f"it cannot be read ({error.strerror})"
        raise BytecodeError(subject, cause, "run this as root (become: true), and name a file") from None
    if sha256 and hashlib.sha256(content).hexdigest() != sha256.lower():
        raise ArchiveMissing(subject, f"its SHA-256 is not {sha256}", step)


def _run(host: CommandRunner, python: str, action: str, archive: str) -> str:
    if not os.access(python, os.X_OK):
        raise BytecodeError(
            f"Python {python}", "there is no such program", "install it, or name the one that runs flanneld"
        )
    # -B: nothing is to be left of running this.
    command = [python, "-IBc", inspect.getsource(_bytecode), action, archive, name_compiled(archive)]
    status, output, errors = host.run_command(command)
    if status != 0:
        raise BytecodeError(
            f"archive {archive}",
            f"{python} cannot {action} it ({(errors.strip().splitlines() or [f'exit code {status}'])[-1]})",
            "run this as root (become: true); if the archive is damaged, remove it and run weft.flannel.site",
        )
    return output.strip()


def describe(archive: str, is_current: bool) -> Dict[str, str]:
    """The diff that Ansible shows."""
    header, there = name_compiled(archive), "byte code for the Python of this host\n"
    return {
        "before_header": header,
        "after_header": header,
        "before": there if is_current else "",
        "after": there,
    }
