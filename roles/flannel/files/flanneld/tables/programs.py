# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the programs that firewall tables are read and written with."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from typing import Sequence

from . import KernelError
from .refusal import RETRIED

SEARCH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
_SECONDS = 15.0


class MissingProgram(KernelError):
    """A program that something is wanted from is not installed."""


def run_program(command: Sequence[str], script: str = "") -> str:
    """Standard output of the program, which reads the script.

    Raises MissingProgram when it is not installed, KernelError when it fails, with the first line it complained in.
    """
    program = shutil.which(command[0], path=SEARCH)
    if program is None:
        raise MissingProgram(
            command[0],
            "is not installed",
            "install the package it comes with (iptables, nftables), choose the other one with --firewall, "
            "or run without --ip-masq and with --iptables-forward-rules=false",
            errno.ENOENT,
        )
    try:
        done = subprocess.run(
            [program, *command[1:]],
            env={**os.environ, "LC_ALL": "C"},  # some complaints are told apart by their words
            input=script,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # comments of others are bytes, and are given back as they were
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise KernelError(command[0], f"did not finish within {_SECONDS:.0f} s", RETRIED) from error
    except OSError as error:
        raise KernelError(
            command[0], f"cannot be run: {error.strerror}", "repair the package it comes with"
        ) from error
    if done.returncode == 0:
        return done.stdout
    complaint = done.stderr.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").strip()
    cause = complaint.splitlines()[0] if complaint else f"exit status {done.returncode}"
    step = RETRIED
    if "Permission denied" in done.stderr or "Operation not permitted" in done.stderr:
        step = "give flanneld CAP_NET_ADMIN and CAP_NET_RAW in this network namespace (flanneld.service does)"
    raise KernelError(" ".join(command), cause, step)
