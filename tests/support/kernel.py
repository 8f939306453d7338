# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One empty network namespace for one test, entered by the thread that runs it."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from contextlib import contextmanager
from typing import Iterator, List

_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextmanager
def fresh_namespace() -> Iterator[None]:
    """The calling thread, and what it starts, has a network of its own, in which it may do everything."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_CLONE_NEWNET))
        try:
            sh("ip link set lo up")
            yield
        finally:
            _check(_libc.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)


def add_underlay(name: str, address: str) -> None:
    """A device with that address (CIDR) and a carrier: a veth whose other end, up too, is called <name>-peer."""
    sh(f"ip link add {name} type veth peer name {name}-peer")
    sh(f"ip link set {name}-peer up")
    sh(f"ip address add {address} dev {name}{' nodad' if ':' in address else ''}")
    sh(f"ip link set {name} up")


def sh(command: str) -> List[str]:
    """Run a command, without a shell; the lines of its output, stripped. Raises AssertionError if it fails."""
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{command}: {done.stderr.strip()}"
    return [" ".join(line.split()) for line in done.stdout.splitlines()]
