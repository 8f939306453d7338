# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An index of networks by overlap."""

from __future__ import annotations

import bisect
from collections import Counter
from typing import Counter as CounterType
from typing import Dict, Iterator, List, Set, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import Network


class PrefixIndex:
    """Labels under networks of one family; a lookup costs one step per prefix length in use, not one per network.

    Two networks overlap when one contains the other, so whatever overlaps a network is either found under one of its
    shorter prefixes, or starts within it.
    """

    def __init__(self) -> None:
        self._labels: Dict[Tuple[int, int], Set[str]] = {}
        self._starts: List[Tuple[int, int]] = []
        self._lengths: CounterType[int] = Counter()

    def add(self, network: Network, label: str) -> None:
        place = (int(network.network_address), network.prefixlen)
        if place not in self._labels:
            self._labels[place] = set()
            bisect.insort(self._starts, place)
            self._lengths[network.prefixlen] += 1
        self._labels[place].add(label)

    def remove(self, network: Network, label: str) -> None:
        place = (int(network.network_address), network.prefixlen)
        self._labels[place].discard(label)
        if not self._labels[place]:
            del self._labels[place]
            del self._starts[bisect.bisect_left(self._starts, place)]
            self._lengths[network.prefixlen] -= 1

    def overlapping(self, network: Network) -> Iterator[str]:
        """Labels of all networks that contain this one, equal it, or lie within it."""
        first = int(network.network_address)
        last = first + (1 << (network.max_prefixlen - network.prefixlen)) - 1
        for length, count in self._lengths.items():
            if count and length <= network.prefixlen:
                shift = network.max_prefixlen - length
                yield from self._labels.get((first >> shift << shift, length), ())
        position = bisect.bisect_left(self._starts, (first, network.prefixlen + 1))
        while position < len(self._starts) and self._starts[position][0] <= last:
            start, length = self._starts[position]
            if length > network.prefixlen:
                yield from self._labels[(start, length)]
            position += 1
