# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a program that only tells something."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import List

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError

_SECONDS = 30.0


class ProgramError(FlannelError):
    """A program cannot tell what it was asked for."""


def run_program(command: List[str]) -> str:
    """Its standard output, and what it complained about. Raises ProgramError."""
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if program is None:
        raise ProgramError(command[0], "is not installed", "install it, and try again")
    subject = " ".join(command)
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProgramError(subject, f"did not finish within {_SECONDS:.0f} s", "run it by hand") from None
    except OSError as error:
        raise ProgramError(subject, f"cannot be run: {error.strerror}", "run it by hand") from error
    errors = done.stderr.decode("utf-8", "replace")
    if done.returncode != 0 and not done.stdout:
        raise ProgramError(subject, f"exit status {done.returncode}: {errors.strip()}", "run it by hand")
    return done.stdout.decode("utf-8", "replace") + (f"\n# stderr:\n{errors}" if errors else "")
