# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf(2): maps, programs and what they count (include/uapi/linux/bpf.h). All functions raise OSError."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import cache
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Tuple

ARRAY, PER_CPU_ARRAY, LPM_TRIE = 2, 6, 11
SCHED_CLS, XDP = 3, 6
NO_PREALLOC = 1
XDP_IN_PARTS = 1 << 5
"""BPF_F_XDP_HAS_FRAGS: the program may be handed the beginning of a frame that lies in several places."""

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _PROG_LOAD = range(6)
_PROG_TEST_RUN, _OBJ_GET_INFO, _MAP_LOOKUP_BATCH = 10, 15, 24
_BATCH = 1024
_UNKNOWN = (errno.EINVAL, errno.EOPNOTSUPP, 524)  # the last one is the kernel's own ENOTSUPP
_NUMBERS = {
    "x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "ppc64": 361,
    "s390x": 351, "armv7l": 386, "armv6l": 386, "i686": 357, "i586": 357,
}  # fmt: skip
_LICENCE = b"GPL"  # the kernel's word for what may call all helpers
_LOG_BYTES = 1 << 18
_LOG_LINES = 12

_MAP_ATTRIBUTES = struct.Struct("=5I4xI16s")
_ELEMENT = struct.Struct("=I4xQQQ")
_BATCH_REQUEST = struct.Struct("=QQQQIIQQ")
_PROGRAM = struct.Struct("=IIQQIIQII16s")
_INFO_REQUEST = struct.Struct("=IIQ")
_INFO = struct.Struct("=II8s")
_TEST = struct.Struct("=IIIIQQII")
_COUNT = struct.Struct("=Q")


class _NoBatches(Exception):
    """This kernel hands over the entries of such a map one by one."""


class Info(NamedTuple):
    """What the kernel tells of a program. tag: a hash of its instructions, without its maps."""

    number: int
    tag: bytes


class Verdict(NamedTuple):
    """What a program returned for a packet, and the packet after it."""

    returned: int
    packet: bytes


def create_map(kind: int, key: int, value: int, entries: int, flags: int, name: str) -> int:
    """A descriptor. key, value: bytes; of a value for each CPU, where there is one."""
    return _call(_MAP_CREATE, _MAP_ATTRIBUTES.pack(kind, key, value, entries, flags, 0, name.encode()))


def update(map_: int, key: bytes, value: bytes) -> None:
    _with_element(_MAP_UPDATE, map_, key, value)


def delete(map_: int, key: bytes) -> None:
    """Without an error for what is not there."""
    try:
        _with_element(_MAP_DELETE, map_, key, None)
    except FileNotFoundError:
        return


def read_entries(map_: int, key_bytes: int, value_bytes: int) -> Iterator[Tuple[bytes, bytes]]:
    """All keys with their values."""
    try:
        yield from _read_in_batches(map_, key_bytes, value_bytes)
    except _NoBatches:  # a kernel before 5.13
        yield from _read_singly(map_, key_bytes, value_bytes)


def _read_in_batches(map_: int, key_bytes: int, value_bytes: int) -> Iterator[Tuple[bytes, bytes]]:
    """Raises _NoBatches before anything is read."""
    place, following = None, ctypes.create_string_buffer(max(key_bytes, 4))
    keys = ctypes.create_string_buffer(key_bytes * _BATCH)
    values = ctypes.create_string_buffer(value_bytes * _BATCH)
    last = False
    while not last:
        buffers = (place, following, keys, values)
        request = _BATCH_REQUEST.pack(
            *(0 if one is None else ctypes.addressof(one) for one in buffers), _BATCH, map_, 0, 0
        )
        answer = ctypes.create_string_buffer(request, len(request))
        try:
            _call_with(_MAP_LOOKUP_BATCH, answer)
        except FileNotFoundError:
            last = True
        except OSError as error:
            if place is None and error.errno in _UNKNOWN:
                raise _NoBatches from error
            raise
        count = _BATCH_REQUEST.unpack(answer.raw)[4]
        read_keys, read_values = keys.raw, values.raw  # each a copy
        for number in range(count):
            key = read_keys[number * key_bytes : (number + 1) * key_bytes]
            yield key, read_values[number * value_bytes : (number + 1) * value_bytes]
        place, following = following, ctypes.create_string_buffer(max(key_bytes, 4))


def _read_singly(map_: int, key_bytes: int, value_bytes: int) -> Iterator[Tuple[bytes, bytes]]:
    key: Optional[bytes] = None
    while True:
        following = ctypes.create_string_buffer(key_bytes)
        try:
            _with_element(_MAP_NEXT_KEY, map_, key, following)
        except FileNotFoundError:
            return
        key = following.raw
        value = ctypes.create_string_buffer(value_bytes)
        try:
            _with_element(_MAP_LOOKUP, map_, key, value)
        except FileNotFoundError:  # deleted since
            continue
        yield key, value.raw


def read_sums(map_: int, count: int) -> List[int]:
    """The counters in the only entry of a per-CPU array, each added up over all CPUs."""
    size = count * _COUNT.size
    values = ctypes.create_string_buffer(size * _count_cpus())
    _with_element(_MAP_LOOKUP, map_, bytes(4), values)
    numbers = [number for (number,) in _COUNT.iter_unpack(values.raw)]
    return [sum(numbers[place::count]) for place in range(count)]


def load_program(kind: int, code: bytes, name: str, flags: int = 0) -> int:
    """A descriptor. The error of what the verifier refuses ends with the end of its log."""
    try:
        return _load(kind, code, name, flags, None)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL):
            raise
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return _load(kind, code, name, flags, log)
        except OSError as again:
            said = log.value.decode("utf-8", "replace").strip().splitlines()[-_LOG_LINES:]
            text = "; ".join(said) or os.strerror(again.errno or 0)
            raise OSError(again.errno, f"program {name}: {text}") from error


def read_info(program: int) -> Info:
    info = ctypes.create_string_buffer(_INFO.size)
    _call(_OBJ_GET_INFO, _INFO_REQUEST.pack(program, _INFO.size, ctypes.addressof(info)))
    _kind, number, tag = _INFO.unpack(info.raw)
    return Info(number, tag)


def test_run(program: int, packet: bytes) -> Verdict:
    """What becomes of a packet, with its Ethernet header; nothing is sent."""
    given = ctypes.create_string_buffer(packet, len(packet))
    after = ctypes.create_string_buffer(len(packet) + 256)
    request = _TEST.pack(
        program, 0, len(packet), len(after), ctypes.addressof(given), ctypes.addressof(after), 1, 0
    )
    answer = ctypes.create_string_buffer(request, len(request))
    _call_with(_PROG_TEST_RUN, answer)
    _program, returned, _in, size = struct.unpack_from("=IIII", answer.raw)
    return Verdict(returned, after.raw[:size])


def _load(kind: int, code: bytes, name: str, flags: int, log: Optional[ctypes.Array[ctypes.c_char]]) -> int:
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(_LICENCE)
    level, size, place = (0, 0, 0) if log is None else (1, len(log), ctypes.addressof(log))
    return _call(
        _PROG_LOAD,
        _PROGRAM.pack(
            kind, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(licence),
            level, size, place, 0, flags, name.encode(),
        ),
    )  # fmt: skip


def _with_element(command: int, map_: int, key: Optional[bytes], value: object) -> None:
    """value: bytes to give, a buffer to fill, or None."""
    given = None if key is None else ctypes.create_string_buffer(key, len(key))
    buffer = ctypes.create_string_buffer(value, len(value)) if isinstance(value, bytes) else value
    places = [0 if one is None else ctypes.addressof(one) for one in (given, buffer)]  # type: ignore[arg-type]
    _call(command, _ELEMENT.pack(map_, *places, 0))


def _call(command: int, attributes: bytes) -> int:
    return _call_with(command, ctypes.create_string_buffer(attributes, len(attributes)))


def _call_with(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"flanneld does not know bpf(2) of {os.uname().machine}")
    result: int = _libc().syscall(
        ctypes.c_long(number), ctypes.c_int(command), attributes, ctypes.c_uint(len(attributes))
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def _count_cpus() -> int:
    """All that may ever be there, because a per-CPU map has a value for each."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    ends = [part.split("-") for part in text.strip().split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)
