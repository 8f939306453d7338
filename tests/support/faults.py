# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults done to a process from outside, which it has no switch for and cannot know of."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import socket
import struct
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

SYS_PIDFD_GETFD = 438  # include/uapi/asm-generic/unistd.h, the same number on every architecture
SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h
SOL_NETLINK = 270  # include/linux/socket.h
NETLINK_LIST_MEMBERSHIPS = 9  # include/uapi/linux/netlink.h
BPF_RET_K = 0x06  # include/uapi/linux/bpf_common.h

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """SIGSTOP from `with` to its end: connections stay open, nothing answers."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def deafen(pid: int) -> int:
    """Let the kernel discard every netlink notification to this process; how many sockets listened for any.

    A classic BPF program "return 0" on the socket drops each message before it is queued, so that the process does
    not even see the overrun (ENOBUFS) that a full queue would show it. Sockets without group memberships, which carry
    requests and their answers, are left alone.
    """
    listening = 0
    pidfd = os.pidfd_open(pid)
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                if re.fullmatch(r"socket:\[\d+\]", str(entry.readlink())):
                    listening += _deafen_socket(pidfd, int(entry.name))
    finally:
        os.close(pidfd)
    return listening


def _deafen_socket(pidfd: int, number: int) -> int:
    """1 if it listened for notifications, else 0. Raises FileNotFoundError when it is closed by now."""
    with socket.socket(fileno=_take_descriptor(pidfd, number)) as theirs:
        if not _listens(theirs):
            return 0
        _discard_input(theirs)
        return 1


def _take_descriptor(pidfd: int, number: int) -> int:
    """pidfd_getfd(2): a descriptor of our own for a file that another process has open."""
    descriptor = int(_libc.syscall(SYS_PIDFD_GETFD, pidfd, number, 0))
    if descriptor < 0:
        failure = ctypes.get_errno()
        if failure == errno.EBADF:
            raise FileNotFoundError(failure, "pidfd_getfd: it has been closed")
        raise OSError(failure, f"pidfd_getfd: {os.strerror(failure)}")
    return descriptor


def _listens(candidate: socket.socket) -> bool:
    if candidate.family != socket.AF_NETLINK:
        return False
    memberships = candidate.getsockopt(SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, 64)
    return any(memberships)


def _discard_input(listener: socket.socket) -> None:
    program = struct.pack("HBBI", BPF_RET_K, 0, 0, 0)  # struct sock_filter: return 0, i.e. keep no byte
    keep_alive = ctypes.create_string_buffer(program)
    descriptor = struct.pack("HP", 1, ctypes.addressof(keep_alive))  # struct sock_fprog
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, descriptor)
    with suppress(BlockingIOError):
        while True:  # what is queued already would still be heard
            listener.recv(1 << 20, socket.MSG_DONTWAIT)
