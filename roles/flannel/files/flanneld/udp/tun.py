# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TUN devices: a character device, and ioctls on it (linux/if_tun.h, drivers/net/tun.c)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

DEVICE = "/dev/net/tun"
VIRTIO_HEADER_BYTES = 10  # struct virtio_net_hdr, what IFF_VNET_HDR puts before each packet

_IFF_TUN, _IFF_TAP, _IFF_PERSIST, _IFF_NO_PI, _IFF_VNET_HDR = 0x1, 0x2, 0x800, 0x1000, 0x4000
_FLAGS = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
_TAP_FLAGS = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
_TUN_F_CSUM, _TUN_F_TSO4 = 0x1, 0x2
_IFREQ = struct.Struct("=16sH22x")

# asm-generic/ioctl.h; a few architectures number the directions otherwise
_OTHER_DIRECTIONS = os.uname().machine.startswith(("ppc", "mips", "sparc", "alpha"))
_WRITE, _READ = (0x80000000, 0x40000000) if _OTHER_DIRECTIONS else (0x40000000, 0x80000000)
_TUNSETIFF = _WRITE | 0x454CA
_TUNSETPERSIST = _WRITE | 0x454CB
_TUNGETFEATURES = _READ | 0x454CF
_TUNSETOFFLOAD = _WRITE | 0x454D0
_TUNGETIFF = _READ | 0x454D2


def probe() -> None:
    """Raises OSError when this process cannot have TUN devices: ENOENT or ENODEV without the module, EPERM or EACCES
    in a sandbox, EOPNOTSUPP when the kernel's know nothing of virtio headers."""
    descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        features = fcntl.ioctl(descriptor, _TUNGETFEATURES, bytes(4))
    finally:
        os.close(descriptor)
    if not struct.unpack("=I", features)[0] & _IFF_VNET_HDR:
        raise OSError(errno.EOPNOTSUPP, "TUN devices without virtio headers")


def make_device(name: str) -> None:
    """Make it, or take one that stands, so that it stays when nobody has it open. Raises OSError: EBUSY when another
    process has it open, EINVAL when a device of another kind has the name."""
    descriptor = _attach(name)
    try:
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    finally:
        os.close(descriptor)


def open_queue(name: str) -> int:
    """The descriptor behind a device that stands: a read gives a packet that was sent to it, a write brings it one;
    each begins with a virtio header. Never blocks. Raises OSError as make_device does, and ENODEV."""
    descriptor = _attach(name)
    try:
        if (
            not _read_flags(descriptor) & _IFF_PERSIST
        ):  # made just now by our asking, and goes with the descriptor
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_passing_device(pattern: str) -> int:
    """The descriptor behind a new device, which goes when it is closed. pattern: its name, "%d" for the first number
    that is free. Raises OSError."""
    return _attach(pattern)


def open_passing_tap(pattern: str) -> int:
    """The same, with an Ethernet header between virtio header and packet."""
    return _attach(pattern, _TAP_FLAGS)


def read_name(descriptor: int) -> str:
    """Of the device behind it. Raises OSError (EBADFD) when it was deleted."""
    packed: bytes = _IFREQ.unpack(_read_request(descriptor))[0]
    return packed.rstrip(b"\0").decode("utf-8", "replace")


def _read_flags(descriptor: int) -> int:
    return int(_IFREQ.unpack(_read_request(descriptor))[1])


def _read_request(descriptor: int) -> bytes:
    return bytes(fcntl.ioctl(descriptor, _TUNGETIFF, bytes(_IFREQ.size)))


def _attach(name: str, flags: int = _FLAGS) -> int:
    descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(name.encode(), flags))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
