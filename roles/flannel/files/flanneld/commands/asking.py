# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running agent answers, as the report that it made."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Mapping, Optional, Type, TypeVar

from ansible_collections.weft.flannel.plugins.module_utils._agent import AgentError, load_document

from flanneld.outputs.report import (
    DropReport,
    ErrorReport,
    InterfaceReport,
    LeaseReport,
    PeerReport,
    Report,
    StoreReport,
    TableReport,
    UdpReport,
)

_SINGLE: Mapping[str, type] = {
    "lease": LeaseReport,
    "interface": InterfaceReport,
    "store": StoreReport,
    "udp": UdpReport,
}
_MANY: Mapping[str, type] = {
    "peers": PeerReport,
    "tables": TableReport,
    "udp_dropped": DropReport,
    "last_errors": ErrorReport,
}

Part = TypeVar("Part")


def parse_report(text: str) -> Report:
    """The report of an answer. Raises AgentError when an agent of another version wrote it."""
    document = load_document(text)
    try:
        return _make(Report, {**document, **{name: _read(document, name) for name in (*_SINGLE, *_MANY)}})
    except (KeyError, TypeError) as error:
        raise AgentError(
            "the answer of the running agent",
            f"it is of another version than this command ({error})",
            "use --json, or restart flanneld to run what is installed",
        ) from error


def _read(document: Mapping[str, Any], name: str) -> object:
    value: Any = document[name]
    if name in _MANY:
        return tuple(_make(_MANY[name], entry) for entry in value)
    return None if value is None else _make(_SINGLE[name], value)


def _make(kind: Type[Part], values: Optional[Mapping[str, Any]]) -> Part:
    """A dataclass from its JSON object; what a newer agent says beyond it is left out. Raises KeyError, TypeError."""
    if values is None:
        raise TypeError(f"no {kind.__name__}")
    chosen = {field.name: values[field.name] for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in chosen.items()})
