# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The byte code of flanneld on this host, made and judged by the Python that runs flanneld."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Dict

from ansible_collections.weft.flannel.plugins.module_utils import _bytecode
from ansible_collections.weft.flannel.plugins.module_utils._docker_host import CommandRunner
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError


class BytecodeError(FlannelError):
    """There is nothing to compile, or nobody who could."""


def name_compiled(archive: str) -> str:
    """Where the archive itself looks for it: ENTRY_POINT in plugins/plugin_utils/_bundle.py."""
    return f"{archive}c"


def compare(host: CommandRunner, python: str, archive: str) -> bool:
    """Whether the byte code is there, of this archive and for this Python. Raises BytecodeError."""
    return _run(host, python, "compare", archive) == _bytecode.CURRENT


def write(host: CommandRunner, python: str, archive: str) -> None:
    """Make the byte code. Raises BytecodeError."""
    _run(host, python, "compile", archive)


def _run(host: CommandRunner, python: str, action: str, archive: str) -> str:
    if not Path(archive).is_file():
        raise BytecodeError(
            f"archive {archive}", "there is no such file", "put it there with weft.flannel.flannel_bundle"
        )
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
