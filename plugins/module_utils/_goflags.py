# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The flags of a flanneld, in the syntax of Go's package flag (spec 3.6), whatever their names."""

from __future__ import annotations

from typing import Container, Iterator, List, Sequence, Tuple

TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")


def split_flags(arguments: Sequence[str], booleans: Container[str]) -> Iterator[Tuple[str, List[str]]]:
    """Each flag's name without dashes, with its words, one or two; what is no flag comes alone, too.

    booleans: the names of flags that take a value only behind "=".
    """
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, _value = word.lstrip("-").partition("=")
        alone = equals or name in booleans or not word.startswith("-") or not rest
        yield name, [word] if alone else [word, rest.pop(0)]


def value_of(words: Sequence[str]) -> str:
    """What the words of a flag set it to: "--a=b", "--a b" -> "b"; "" for a boolean without a value."""
    return words[1] if len(words) == 2 else words[0].partition("=")[2]
