# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads that wait for the kernel to say that something changed, and post it to the daemon's queue."""

from __future__ import annotations

import errno
import logging
import select
import socket
import threading
from dataclasses import dataclass
from typing import Callable, List, Tuple, Union

from .rtnetlink import NETLINK_ROUTE, Message, parse_messages, remember_names
from .xfrm import NETLINK_XFRM, POLICY_GROUP

log = logging.getLogger(__name__)

Post = Callable[[object], None]

# linux/rtnetlink.h: RTMGRP_LINK, _NEIGH (also FDB), _TC, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
_GROUPS = 0x1 | 0x4 | 0x8 | 0x10 | 0x40 | 0x100 | 0x400
_NETLINK_NETFILTER = 12
_NFNLGRP_NFTABLES = 7

_RECEIVE_BYTES = 1 << 16
_BUFFER_BYTES = 8 << 20
_SO_RCVBUFFORCE = 33
_STOP_SECONDS = 0.5  # how late a thread may notice that it should stop
_SETTLE_SECONDS = 0.01  # a storm comes as one post, not as thousands
_POST_AT_MOST = 4096  # messages
_POLICIES_QUIET_SECONDS = 0.1  # what leaves meanwhile may leave in clear
_FIREWALL_QUIET_SECONDS = 1.0  # Docker writes dozens of rules for each container


@dataclass(frozen=True)
class KernelMessages:
    """Notifications in the order of the kernel, for Reconciler.note()."""

    messages: Tuple[Message, ...]


@dataclass(frozen=True)
class NotificationsLost:
    """The kernel had more to say than its buffer holds: everything may have changed."""


@dataclass(frozen=True)
class FirewallTouched:
    """Somebody, maybe ourselves, changed nftables or iptables-nft rules."""


@dataclass(frozen=True)
class PoliciesTouched:
    """Somebody, maybe ourselves, changed IPsec policies."""


def watch_kernel(post: Post, stop: threading.Event) -> None:
    """Post KernelMessages and NotificationsLost until stop is set. Raises OSError if it cannot listen at all.

    NotificationsLost is posted first of all, because nothing is known of the time before the subscription.
    """
    with open_kernel_socket() as kernel:
        post(NotificationsLost())
        while not stop.is_set():
            if not _wait(kernel, _STOP_SECONDS):
                continue
            stop.wait(_SETTLE_SECONDS)
            for news in read_news(kernel):
                post(news)


def watch_netfilter(post: Post, stop: threading.Event) -> None:
    """Post FirewallTouched, at most once a second, until stop is set.

    A change within the second after a post is posted at its end. Returns at once where the kernel tells nothing (no
    nf_tables; rules of iptables-legacy are never announced): then only the periodic check finds changes.
    """
    try:
        netfilter = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        )
    except OSError as error:
        log.info("no firewall notifications: %s; rules are checked periodically", error.strerror)
        return
    with netfilter:
        try:
            netfilter.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
        except OSError as error:
            log.info("no firewall notifications: %s; rules are checked periodically", error.strerror)
            return
        netfilter.setblocking(False)
        while not stop.is_set():
            if not _wait(netfilter, _STOP_SECONDS):
                continue
            _discard(netfilter)
            post(FirewallTouched())
            stop.wait(_FIREWALL_QUIET_SECONDS)


def watch_policies(post: Post, stop: threading.Event) -> None:
    """Post PoliciesTouched, ten times a second at most, until stop is set. Returns at once where there is no IPsec."""
    try:
        policies = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_XFRM)
    except OSError:
        return
    with policies:
        policies.bind((0, POLICY_GROUP))
        policies.setblocking(False)
        while not stop.is_set():
            if _wait(policies, _STOP_SECONDS):
                _discard(policies)
                post(PoliciesTouched())
                stop.wait(_POLICIES_QUIET_SECONDS)


def open_kernel_socket() -> socket.socket:
    """A socket for notifications about devices, addresses, neighbours, FDB entries and routes. Raises OSError."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
    _enlarge_buffer(kernel)
    kernel.bind((0, _GROUPS))
    kernel.setblocking(False)
    return kernel


def read_news(kernel: socket.socket) -> List[Union[KernelMessages, NotificationsLost]]:
    """All that can be read from the socket now, without waiting. Raises OSError if it is broken."""
    news: List[Union[KernelMessages, NotificationsLost]] = []
    messages: List[Message] = []
    name = remember_names()
    while len(messages) < _POST_AT_MOST:
        try:
            data = kernel.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            log.warning("kernel notifications were lost; everything is read again")
            news.append(NotificationsLost())
            continue
        messages += [message for _sequence, message in parse_messages(data, name)]
    if messages:
        news.append(KernelMessages(tuple(messages)))
    return news


def _wait(source: socket.socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _discard(netfilter: socket.socket) -> None:
    """Empty the buffer; that something was in it, lost or not, is all there is to know."""
    while True:
        try:
            netfilter.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def _enlarge_buffer(kernel: socket.socket) -> None:
    try:
        kernel.setsockopt(
            socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES
        )  # needs CAP_NET_ADMIN in the first namespace
    except OSError:
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
