# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An index of networks by overlap."""

from __future__ import annotations

import bisect
from collections import Counter
from typing import Counter as CounterType
from typing import Dict, List, Tuple

Prefix = Tuple[int, int]
"""A network by the number of its first address, and its length."""


class PrefixIndex:
    """Labels under networks of one family; a lookup costs one step per prefix length in use, not one per network.

    Two networks overlap when one contains the other, so whatever overlaps a network is either found under one of its
    shorter prefixes, or starts within it. bits: of an address of the family.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._labels: Dict[
            Prefix, Tuple[str, ...]
        ] = {}  # one each, as a rule: a set would be four times as large
        self._starts: List[Prefix] = []
        self._lengths: CounterType[int] = Counter()

    def add(self, prefix: Prefix, label: str) -> None:
        others = self._labels.get(prefix)
        if others is None:
            bisect.insort(self._starts, prefix)
            self._lengths[prefix[1]] += 1
            self._labels[prefix] = (label,)
        elif label not in others:
            self._labels[prefix] = (*others, label)

    def remove(self, prefix: Prefix, label: str) -> None:
        others = tuple(other for other in self._labels[prefix] if other != label)
        if others:
            self._labels[prefix] = others
            return
        del self._labels[prefix]
        del self._starts[bisect.bisect_left(self._starts, prefix)]
        self._lengths[prefix[1]] -= 1
        if not self._lengths[prefix[1]]:
            del self._lengths[prefix[1]]

    def overlapping(self, prefix: Prefix) -> List[str]:
        """Labels of all networks that contain this one, equal it, or lie within it."""
        first, longest = prefix
        found: List[str] = []
        for length in self._lengths:
            if length <= longest:
                shift = self._bits - length
                found += self._labels.get((first >> shift << shift, length), ())
        last = first + (1 << (self._bits - longest)) - 1
        position = bisect.bisect_left(self._starts, (first, longest + 1))
        while position < len(self._starts) and self._starts[position][0] <= last:
            if self._starts[position][1] > longest:
                found += self._labels[self._starts[position]]
            position += 1
        return found
