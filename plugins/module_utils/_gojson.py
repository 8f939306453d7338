# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""JSON as Go's encoding/json reads and writes it (spec 1.1, 2.3, appendix C).

Python's json module differs where it matters here: it merges duplicate keys before anybody can look at them, turns
number literals into numbers, accepts NaN, lets half a surrogate pair through, and forgets the source text of a value.
All functions raise ValueError, whose text never quotes the document: it may hold a secret.
"""

from __future__ import annotations

import json
import re
from typing import Dict, List, NoReturn, Optional, Tuple, Union


class Number(str):
    """A JSON number, as its literal text: whether "24.0" may become an integer is for the reader of the key to say."""


Value = Union[None, bool, Number, str, List["Value"], Dict[str, "Value"]]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_refuse_constant)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(
    r"\\(?:"
    r"(?P<pair>u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|.)",
    re.DOTALL,
)
_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])', re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]*")
# What leases are made of, and split by without being parsed once more: only in text that is known to be JSON, without
# escapes, and not where there is white space or an array.
_PLAIN_STRING = re.compile(r'"[ !#-\[\]-~]*"')
_PLAIN_MEMBER = re.compile(r'"([^"]*)":("[^"]*"|\{(?:"[^"]*"|[^{}"\s])*\}|[^{}\[\]",\s]+)[,}]')
_SPACES = frozenset(" \t\r\n")
_NOT_COMPACT = re.compile("[ \t\r\n<>&\u2028\u2029]")
_GO_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_QUOTED_LENGTH = 80
_DEEPEST = 100
"""Levels of nesting that are read; flannel's own documents have three. Python's limit depends on where the stack
stands, so that what was read in one place could not be read again in another."""


def read_text(document: Union[str, bytes]) -> str:
    """The document as text, with U+FFFD for bytes that are not UTF-8 and for halves of surrogate pairs."""
    text = document.decode("utf-8", "replace") if isinstance(document, bytes) else document
    if text.isascii() and "\\" not in text:  # as leases are
        return text
    text = _LONE_SURROGATE.sub("\ufffd", text)
    return _ESCAPE.sub(lambda match: "\\ufffd" if match.group("lone") else match.group(), text)


def decode(text: str) -> Value:
    """The value of one JSON text; numbers stay literals."""
    if _PLAIN_STRING.fullmatch(text):
        return text[1:-1]
    try:
        value: Value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if text.count("[") + text.count("{") > _DEEPEST and _count_levels(text) > _DEEPEST:
        raise ValueError("is nested too deeply")
    return value


def _count_levels(text: str) -> int:
    """The deepest nesting in a JSON text."""
    level = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        opening, closing = match.groups()
        level += bool(opening) - bool(closing)
        deepest = max(deepest, level)
    return deepest


def read_members(document: Union[str, bytes]) -> List[Tuple[str, str]]:
    """(key, source text of the value) of every member of a JSON object, duplicates included, in source order.

    null has no members: Go leaves the target as it is.
    """
    text = read_text(document)
    value = decode(text)
    if value is None:
        return []
    if not isinstance(value, dict):
        raise ValueError(f"{name_kind(value)} stands where an object should be")
    return _split_plain(text) or _split(text)


def _split_plain(text: str) -> Optional[List[Tuple[str, str]]]:
    """What _split returns for the text of an object, in a tenth of its time; None for a text that is not so plain."""
    if "\\" in text or text[:1] != "{":
        return None
    members: List[Tuple[str, str]] = []
    position = 1
    while position < len(text):
        match = _PLAIN_MEMBER.match(text, position)
        if match is None:
            return None
        members.append((match[1], match[2]))
        position = match.end()
    return members


def _split(text: str) -> List[Tuple[str, str]]:
    """Members of the text of an object, which is known to be JSON."""
    members: List[Tuple[str, str]] = []
    position = _skip_space(text, text.index("{") + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        start = _skip_space(text, _skip_space(text, position) + len(":"))
        _value, end = _DECODER.raw_decode(text, start)
        members.append((key, text[start:end]))
        position = _skip_space(text, end)
        if text[position] == ",":
            position = _skip_space(text, position + 1)
    return members


def _skip_space(text: str, position: int) -> int:
    if text[position : position + 1] not in _SPACES:  # as a rule
        return position
    match = _SPACE.match(text, position)
    return match.end() if match else position


def compact(text: str) -> str:
    """A JSON text without white space and with Go's escapes; literals and other escapes stay as they were written."""
    decode(text)
    return squeeze(text)


def squeeze(text: str) -> str:
    """What compact returns, for a text that is known to be JSON."""
    if _NOT_COMPACT.search(text) is None:  # as in leases
        return text
    return _STRING_OR_SPACE.sub(lambda match: match.group(1) or "", text).translate(_GO_ESCAPES)


def encode(value: object) -> str:
    """Compact JSON of plain Python values, escaped as Go does; keys keep their order."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _LONE_SURROGATE.sub("\ufffd", text).translate(_GO_ESCAPES)


def fold(key: str) -> str:
    """What Go compares when a key has no exact match (the long s is the one letter lower() leaves apart)."""
    return key.replace("\u017f", "s").lower()


def name_kind(value: Value) -> str:
    """What a value is, in the words of JSON, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, Number):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def quote(value: Value) -> str:
    """A value as JSON for an error message, cut to a length that fits one; of arrays and objects the kind only."""
    if isinstance(value, (list, dict)):
        return name_kind(value)
    text = str(value) if isinstance(value, Number) else encode(value)
    return text if len(text) <= _QUOTED_LENGTH else text[:_QUOTED_LENGTH] + "..."
