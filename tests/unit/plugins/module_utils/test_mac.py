# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MAC addresses of VTEPs (spec 5.3, 9.3 row mac)."""

from __future__ import annotations

import contextlib
import random

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError
from ansible_collections.weft.flannel.plugins.module_utils._mac import generate_mac, parse_mac
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers())
def test_generated_macs_are_local_unicast(seed: int) -> None:
    mac = generate_mac(random.Random(seed))
    assert int(mac[:2], 16) & 0b11 == 0b10
    assert parse_mac(mac) == mac


def test_generated_macs_use_all_other_bits() -> None:
    rng = random.Random(1)
    macs = [int(generate_mac(rng).replace(":", ""), 16) for _count in range(200)]
    always_set = (1 << 48) - 1
    ever_set = 0
    for mac in macs:
        always_set &= mac
        ever_set |= mac
    assert always_set == 0x020000000000
    assert ever_set == 0xFEFFFFFFFFFF


@pytest.mark.parametrize("text", ["c6:d2:32:6f:8f:44", "C6:D2:32:6F:8F:44", "c6-d2-32-6f-8f-44"])
def test_parse(text: str) -> None:
    assert parse_mac(text) == "c6:d2:32:6f:8f:44"


@pytest.mark.parametrize(
    "text",
    ["", "c6:d2:32:6f:8f", "c6:d2:32:6f:8f:44:00", "c6:d2:32:6f:8f:4g", "c6:d2-32:6f:8f:44", "c6d2326f8f44",
     "c6:d2:32:6f:8f:44\n", "6:d2:32:6f:8f:44", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"],
)  # fmt: skip
def test_what_no_vtep_can_have(text: str) -> None:
    with pytest.raises(AddressError):
        parse_mac(text)


@given(st.text())
def test_nothing_but_address_errors(text: str) -> None:
    with contextlib.suppress(AddressError):
        assert parse_mac(text) == text.lower().replace("-", ":")
