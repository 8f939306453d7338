# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns an errno of the kernel into an error that says what to do."""

from __future__ import annotations

import errno
import os

from . import KernelError

RETRIED = "flanneld tries again"

_NEXT_STEPS = {
    errno.EPERM: "give flanneld CAP_NET_ADMIN in this network namespace (flanneld.service does)",
    errno.EACCES: "give flanneld CAP_NET_ADMIN in this network namespace (flanneld.service does)",
    errno.ENODEV: "nothing to do if the device is about to appear: " + RETRIED + " when it does",
    errno.ENETDOWN: "set the device up (ip link set DEVICE up); " + RETRIED + " when it is",
    errno.ENETUNREACH: "the device must be up, and the gateway on a network directly connected to it: put all hosts "
    "into one layer-2 segment, or use the vxlan backend, which does not need it",
    errno.EADDRNOTAVAIL: "check that the address is set on this host (ip address)",
    errno.ENOBUFS: "raise net.ipv4.neigh.default.gc_thresh3 and net.ipv6.neigh.default.gc_thresh3, or free memory",
    errno.ENOMEM: "free memory; " + RETRIED,
    errno.EINTR: RETRIED,
    errno.EROFS: "mount /proc/sys/net writable for flanneld",
}
_NEXT_STEPS[errno.EHOSTUNREACH] = _NEXT_STEPS[errno.ENETUNREACH]  # what IPv6 says instead


def explain_refusal(subject: str, code: int, text: str = "", next_step: str = "") -> KernelError:
    """The error for an object the kernel refused.

    subject: table and object ("route 10.5.72.0/24 via ..."); code: errno; text: the kernel's own explanation.
    next_step: used where the caller knows better than the errno alone tells.
    """
    cause = os.strerror(code) if code else text
    if code and text and text != cause:
        cause = f"{cause} ({text})"
    return KernelError(subject, cause, next_step or _NEXT_STEPS.get(code, RETRIED), code)


def explain_os_error(subject: str, error: OSError) -> KernelError:
    """The same for an OSError of a socket or file."""
    return explain_refusal(subject, error.errno or 0, error.strerror or str(error))
