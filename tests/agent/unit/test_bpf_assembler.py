# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""eBPF instructions to the byte, as RFC 9669 has them."""

from __future__ import annotations

import sys

import pytest
from flanneld.bpf.assembler import (
    BYTE,
    DOUBLE,
    HALF,
    R0,
    R1,
    R2,
    R3,
    R6,
    R10,
    WORD,
    Assembler,
    wire16,
    wire32,
)

pytestmark = pytest.mark.skipif(
    sys.byteorder != "little", reason="the bytes are those of little-endian machines"
)

GOLDEN = {
    "b7 00 00 00 02 00 00 00": lambda code: code.move(R0, 2),
    "b7 00 00 00 ff ff ff ff": lambda code: code.move(R0, -1),
    "bf 16 00 00 00 00 00 00": lambda code: code.move(R6, R1),
    "07 02 00 00 f8 ff ff ff": lambda code: code.calculate(R2, "+", -8),
    "0f 21 00 00 00 00 00 00": lambda code: code.calculate(R1, "+", R2),
    "67 01 00 00 20 00 00 00": lambda code: code.calculate(R1, "<<", 32),
    "77 01 00 00 10 00 00 00": lambda code: code.calculate(R1, ">>", 16),
    "2f 31 00 00 00 00 00 00": lambda code: code.calculate(R1, "*", R3),
    "a7 00 00 00 ff ff 00 00": lambda code: code.calculate(R0, "^", 0xFFFF),
    "57 01 00 00 ff 3f 00 00": lambda code: code.calculate(R1, "&", 0x3FFF),
    "dc 02 00 00 10 00 00 00": lambda code: code.swap16(R2),
    "71 23 0c 00 00 00 00 00": lambda code: code.load(BYTE, R3, R2, 12),
    "69 23 0c 00 00 00 00 00": lambda code: code.load(HALF, R3, R2, 12),
    "61 12 4c 00 00 00 00 00": lambda code: code.load(WORD, R2, R1, 76),
    "79 a1 f0 ff 00 00 00 00": lambda code: code.load(DOUBLE, R1, R10, -16),
    "63 1a fc ff 00 00 00 00": lambda code: code.store(WORD, R10, -4, R1),
    "7b 1a f8 ff 00 00 00 00": lambda code: code.store(DOUBLE, R10, -8, R1),
    "62 0a f8 ff 20 00 00 00": lambda code: code.store(WORD, R10, -8, 32),
    "6a 0a fe ff ff ff ff ff": lambda code: code.store(HALF, R10, -2, 0xFFFFFFFF),
    "db 10 08 00 00 00 00 00": lambda code: code.add_to(R0, 8, R1),
    "18 11 00 00 05 00 00 00 00 00 00 00 00 00 00 00": lambda code: code.load_map(R1, 5),
    "85 00 00 00 01 00 00 00": lambda code: code.call(1),
    "bf 61 00 00 00 00 00 00 b7 02 00 00 e4 ff ff ff 85 00 00 00 32 00 00 00": lambda code: code.call(
        50, R6, -28
    ),
    "95 00 00 00 00 00 00 00": lambda code: code.exit(),
}


@pytest.mark.parametrize("expected", GOLDEN)
def test_an_instruction(expected):
    code = Assembler()
    GOLDEN[expected](code)
    assert code.build().hex(" ") == expected


@pytest.mark.parametrize(
    ("add", "expected"),
    [
        (lambda code: code.jump("end"), "05 00 01 00 00 00 00 00"),
        (lambda code: code.jump_if(R1, "==", 8, "end"), "16 01 01 00 08 00 00 00"),
        (lambda code: code.jump_unless(R1, "==", 8, "end"), "56 01 01 00 08 00 00 00"),
        (lambda code: code.jump_if(R2, ">", R3, "end"), "2d 32 01 00 00 00 00 00"),
        (lambda code: code.jump_unless(R2, ">", R3, "end"), "bd 32 01 00 00 00 00 00"),
        (lambda code: code.jump_if(R2, "<", 48, "end"), "a6 02 01 00 30 00 00 00"),
        (lambda code: code.jump_if_null(R0, "end"), "15 00 01 00 00 00 00 00"),
    ],
)
def test_a_jump_goes_to_its_label(add, expected):
    code = Assembler()
    add(code)
    code.move(R0, 0)
    code.label("end")
    code.exit()
    assert code.build()[:8].hex(" ") == expected


def test_a_jump_goes_backward_and_over_what_takes_two_places():
    code = Assembler()
    code.label("begin")
    code.load_map(R1, 3)
    code.jump("begin")
    assert code.build()[16:].hex(" ") == "05 00 fd ff 00 00 00 00"


def test_a_label_stands_once():
    code = Assembler()
    code.label("here")
    with pytest.raises(ValueError, match="here stands twice"):
        code.label("here")


def test_a_jump_without_its_label_is_not_built():
    code = Assembler()
    code.jump("nowhere")
    with pytest.raises(KeyError, match="nowhere"):
        code.build()


def test_numbers_of_a_packet():
    assert wire16(0x0800) == 0x0008
    assert wire32(bytes((192, 0, 2, 1))) == 0x010200C0
