# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""eBPF instructions with names for registers and labels for places (RFC 9669).

    code = Assembler()
    code.load(WORD, R2, R1, SKB_PROTOCOL)        R2 = *(u32 *)(R1 + SKB_PROTOCOL)
    code.jump_unless(R2, "==", wire16(0x0800), "pass")
    ...
    code.label("pass")
    code.end(PASS)
    code.build()

Where a register or a number may stand, it is a Register or an int. R1 to R5 are what a helper is called with, and are
lost by the call; R0 is what it returns; R6 to R9 stay; R10 is the end of 512 bytes of stack.
"""

from __future__ import annotations

import enum
import struct
import sys
from typing import Dict, List, NamedTuple, Tuple, Union


class Register(enum.Enum):
    R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register

Operand = Union[Register, int]

BYTE, HALF, WORD, DOUBLE = 0x10, 0x08, 0x00, 0x18
"""Sizes of loads and stores: 1, 2, 4, 8 bytes."""

_LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07
_MEM, _ATOMIC, _IMM = 0x60, 0xC0, 0x00
_FROM_REGISTER = 0x08
_LOAD_WIDE = 0x18
_PSEUDO_MAP = 1
_CALL, _EXIT, _MOVE, _TO_BIG_ENDIAN = 0x85, 0x95, 0xB0, 0xDC
_OPERATIONS = {"+": 0x00, "-": 0x10, "*": 0x20, "|": 0x40, "&": 0x50, "<<": 0x60, ">>": 0x70, "^": 0xA0}
_CONDITIONS = {"==": 0x10, ">": 0x20, ">=": 0x30, "!=": 0x50, "<": 0xA0, "<=": 0xB0}
_OPPOSITES = {"==": "!=", "!=": "==", ">": "<=", "<=": ">", "<": ">=", ">=": "<"}
_INSTRUCTION = struct.Struct("=BBhi")


class _Instruction(NamedTuple):
    operation: int
    target: Register
    source: Register
    offset: int
    number: int
    label: str


class Assembler:
    """Collects instructions; each method adds what its comment says in C."""

    def __init__(self) -> None:
        self._instructions: List[_Instruction] = []
        self._labels: Dict[str, int] = {}

    def label(self, name: str) -> None:
        """The place to which a jump with that name goes. Raises ValueError for a name given twice."""
        if name in self._labels:
            raise ValueError(f"label {name} stands twice")
        self._labels[name] = len(self._instructions)

    def move(self, target: Register, value: Operand) -> None:
        """target = value"""
        self._add_operation(_ALU64 | _MOVE, target, value)

    def calculate(self, target: Register, operation: str, value: Operand) -> None:
        """target = target <operation> value, in 64 bits; one of + - * | & << >> ^."""
        self._add_operation(_ALU64 | _OPERATIONS[operation], target, value)

    def swap16(self, target: Register) -> None:
        """target = htons(target), and back"""
        self._add(_TO_BIG_ENDIAN, target, number=16)

    def load(self, size: int, target: Register, base: Register, offset: int) -> None:
        """target = *(size *)(base + offset), with zeros in front"""
        self._add(_LDX | _MEM | size, target, base, offset)

    def store(self, size: int, base: Register, offset: int, value: Operand) -> None:
        """*(size *)(base + offset) = value"""
        if isinstance(value, Register):
            self._add(_STX | _MEM | size, base, value, offset)
        else:
            self._add(_ST | _MEM | size, base, offset=offset, number=value)

    def add_to(self, base: Register, offset: int, value: Register) -> None:
        """*(u64 *)(base + offset) += value, atomically"""
        self._add(_STX | _ATOMIC | DOUBLE, base, value, offset)

    def load_map(self, target: Register, descriptor: int) -> None:
        """target = the map behind a descriptor, for a helper"""
        self._instructions.append(_Instruction(_LOAD_WIDE, target, Register(_PSEUDO_MAP), 0, descriptor, ""))
        self._instructions.append(_Instruction(0, R0, R0, 0, 0, ""))

    def jump(self, label: str) -> None:
        """goto label"""
        self._add(_JMP, R0, label=label)

    def jump_if(self, left: Register, condition: str, right: Operand, label: str) -> None:
        """if (left <condition> right) goto label; of two registers all 64 bits, with a number the lower 32, so that it
        is not extended by its sign"""
        if isinstance(right, Register):
            self._add(_JMP | _CONDITIONS[condition] | _FROM_REGISTER, left, right, label=label)
        else:
            self._add(_JMP32 | _CONDITIONS[condition], left, number=right, label=label)

    def jump_unless(self, left: Register, condition: str, right: Operand, label: str) -> None:
        """if (!(left <condition> right)) goto label"""
        self.jump_if(left, _OPPOSITES[condition], right, label)

    def jump_if_null(self, pointer: Register, label: str) -> None:
        """if (pointer == NULL) goto label"""
        self._add(_JMP | _CONDITIONS["=="], pointer, label=label)

    def call(self, helper: int, *arguments: Operand) -> None:
        """R0 = helper(arguments), put into R1 and so on in this order: none may be a register that is filled before"""
        for target, value in zip((R1, R2, R3, R4, R5), arguments):
            if value is not target:
                self.move(target, value)
        self._add(_CALL, R0, number=helper)

    def exit(self) -> None:
        """return R0"""
        self._add(_EXIT, R0)

    def end(self, verdict: int) -> None:
        """return verdict"""
        self.move(R0, verdict)
        self.exit()

    def build(self) -> bytes:
        """The program. Raises KeyError for a label that stands nowhere."""
        return b"".join(self._pack(place, one) for place, one in enumerate(self._instructions))

    def _pack(self, place: int, one: _Instruction) -> bytes:
        offset = self._labels[one.label] - place - 1 if one.label else one.offset
        low, high = one.target.value, one.source.value
        registers = low | high << 4 if sys.byteorder == "little" else low << 4 | high
        return _INSTRUCTION.pack(one.operation, registers, offset, _as_signed(one.number))

    def _add_operation(self, operation: int, target: Register, value: Operand) -> None:
        if isinstance(value, Register):
            self._add(operation | _FROM_REGISTER, target, value)
        else:
            self._add(operation, target, number=value)

    def _add(
        self,
        operation: int,
        target: Register,
        source: Register = R0,
        offset: int = 0,
        number: int = 0,
        label: str = "",
    ) -> None:
        self._instructions.append(_Instruction(operation, target, source, offset, number, label))


def wire16(number: int) -> int:
    """What a load of 16 bits gives where the packet has this number."""
    return int.from_bytes(number.to_bytes(2, "big"), sys.byteorder)


def wire32(packed: bytes) -> int:
    """What a load of 32 bits gives where the packet has these four bytes."""
    return int.from_bytes(packed, sys.byteorder)


def halves(number: int) -> Tuple[int, int]:
    """The two 16-bit words of 32 bits, for sums."""
    return number & 0xFFFF, number >> 16


def _as_signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number
