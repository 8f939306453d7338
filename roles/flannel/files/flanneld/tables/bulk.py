# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many changes to one table over one socket: what address, neighbour, FDB and route tables have in common."""

from __future__ import annotations

from functools import lru_cache
from typing import Callable, Dict, FrozenSet, List, Sequence, Tuple

from . import Change, KernelError, Key
from .refusal import explain_os_error, explain_refusal
from .rtnetlink import Message, RouteSocket, index_of

IndexOf = Callable[[str], int]
Pack = Callable[[Change, IndexOf], Message]


def apply_in_bulk(
    table: str, changes: Sequence[Change], pack: Pack, gone: FrozenSet[int]
) -> Dict[Key, KernelError]:
    """Make the changes with as few sends as possible and report each that failed.

    pack: the request that makes one change; raises OSError when a device it names does not exist.
    gone: what the kernel answers to a delete of something that does not exist.
    """
    errors: Dict[Key, KernelError] = {}
    requests: List[Tuple[Change, Message]] = []
    remembered = lru_cache(maxsize=None)(index_of)
    for change in changes:
        try:
            requests.append((change, pack(change, remembered)))
        except OSError as error:
            if change.after is not None:  # else: a device that is gone took what hung on it along
                errors[change.key] = explain_os_error(describe_change(table, change), error)
    try:
        with RouteSocket() as kernel:
            outcomes = kernel.write([message for _change, message in requests])
    except OSError as error:
        return {change.key: explain_os_error(describe_change(table, change), error) for change in changes}
    for (change, message), refusal in zip(requests, outcomes):
        if refusal is None or (_is_delete(message) and refusal.errno in gone):
            continue
        errors[change.key] = explain_refusal(describe_change(table, change), refusal.errno, refusal.text)
    return errors


def describe_change(table: str, change: Change) -> str:
    """Table and object, as errors name them."""
    return f"{table} {change.thing}"


def _is_delete(message: Message) -> bool:
    return message.type % 4 == 1  # linux/rtnetlink.h: NEW, DEL, GET, SET in groups of four
