# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON as Go reads and writes it (spec appendix C)."""

from __future__ import annotations

import contextlib
import json

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._gojson import (
    Number,
    compact,
    decode,
    encode,
    fold,
    quote,
    read_members,
    read_text,
    squeeze,
)
from hypothesis import example, given
from hypothesis import strategies as st

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def test_numbers_stay_literals() -> None:
    value = decode("[24, 24.0, 1e1, -0]")
    assert value == ["24", "24.0", "1e1", "-0"]
    assert isinstance(value, list)
    assert all(isinstance(item, Number) for item in value)


def test_members_keep_duplicates_and_source_text() -> None:
    text = ' { "a" : [1, {"b":2}] ,"A":"x y" ,\n"a": null }\n'
    assert read_members(text) == [("a", '[1, {"b":2}]'), ("A", '"x y"'), ("a", "null")]
    assert read_members("{}") == []
    assert read_members(b"{ }") == []
    assert read_members("null") == []


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", '"x"', "true", "{}{}", "{} x", '{"a":NaN}', '{"a":Infinity}', '{"a":01}', '{"a":+1}',
     '{"a":.5}', "{'a':1}", '{"a":1,}', '{a:1}', '{"a":"\t"}', "\ufeff{}", '{"a":"\\x"}', '{"a":"\\u12"}',
     '{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "[" * 100_000],
)  # fmt: skip
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_members(text)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_how_deep_a_text_may_be_nested_is_fixed(opening: str) -> None:
    """What was read must be readable wherever the stack stands, or one lease ends every agent."""
    closing = "]" if opening == "[" else "}"
    decode(opening * 99 + "[]" + closing * 99)
    with pytest.raises(ValueError, match="nested too deeply"):
        decode(opening * 100 + "[]" + closing * 100)
    decode("[" + ",".join(['"[{\\"["', "[]", "{}"] * 100) + "]")


def test_invalid_unicode_becomes_the_replacement_character() -> None:
    assert decode(read_text(b'"a\xffb"')) == "a\ufffdb"
    assert decode(read_text('"a\\ud800b"')) == "a\ufffdb"
    assert decode(read_text('"\\udc00\\ud800"')) == "\ufffd\ufffd"
    assert decode(read_text('"\ud800"')) == "\ufffd"


def test_valid_escapes_survive() -> None:
    assert decode(read_text('"\\ud83d\\ude00"')) == "\U0001f600"
    assert decode(read_text('"\\\\ud800"')) == "\\ud800"


def test_compact_drops_space_outside_strings_only_and_keeps_spelling() -> None:
    assert compact(' { "a b" : [ 1.50 , "\\u0041 \\/" ] }\n') == '{"a b":[1.50,"\\u0041 \\/"]}'


def test_go_escapes() -> None:
    written = '"\\u003c\\u003e\\u0026\\u2028\\u2029\\"\\\\é\x7f"'
    assert encode('<>&\u2028\u2029"\\é\x7f') == written
    assert compact('"<>&\u2028\u2029\\"\\\\é\x7f"') == written


def test_fold_is_gos_simple_folding() -> None:
    assert fold("EnableIPv6") == fold("enableipV6") == fold("ENABLEIPV6")
    assert fold("\u017fubnetlen") == "subnetlen"
    assert fold("networ\u212a") == "network"
    assert fold("stra\xdfe") != "strasse"


def test_quote_is_short_and_hides_structure() -> None:
    assert quote("24") == '"24"'
    assert quote(Number("24.0")) == "24.0"
    assert quote(["secret"]) == "an array"
    assert quote({"PSK": "secret"}) == "an object"
    assert len(quote("x" * 10_000)) < 100


@given(JSON_VALUES)
def test_encode_and_compact_change_no_value(value: object) -> None:
    assert json.loads(encode(value)) == value
    assert compact(json.dumps(value, indent=1, ensure_ascii=False)) == encode(value)
    assert compact(encode(value)) == encode(value)
    assert squeeze(encode(value)) == encode(value)


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=5))
def test_members_are_the_members(document: dict[str, object]) -> None:
    text = json.dumps(document, indent=2)
    assert {key: json.loads(raw) for key, raw in read_members(text)} == document


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=5), st.booleans())
@example({"a": {"b": "}", "c": '"'}, "{": ",", "d": [1, {"e": 2}]}, False)
def test_plain_text_has_the_same_members(document: dict[str, object], ascii_only: bool) -> None:
    """Text without white space is split another way; with white space in front it never is."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=ascii_only)
    assert read_members(text) == read_members(" " + text)


@given(st.text() | st.binary() | st.text(alphabet='{}[]",:\\ud8a0 1'))
@example(b"\xed\xa0\x80")
def test_only_value_errors_come_out(document: str | bytes) -> None:
    with contextlib.suppress(ValueError):
        read_members(document)
