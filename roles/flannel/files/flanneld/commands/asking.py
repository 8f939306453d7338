# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the running agent how it is, over its Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import fields
from typing import Any, Mapping, Optional, Type, TypeVar

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError

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

_SECONDS = 10.0
_PATH = "/status"
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


class AgentError(FlannelError):
    """The agent does not tell how it is."""


class AgentAbsent(AgentError):
    """No agent runs for this network."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask_agent(path: str) -> str:
    """The JSON text of the report. path: of the socket. Raises AgentAbsent, AgentError."""
    subject = f"flanneld at {path}"
    connection = _UnixConnection(path)
    try:
        connection.request("GET", _PATH)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except (FileNotFoundError, ConnectionRefusedError):
        raise AgentAbsent(subject, "it is not running", "start it") from None
    except PermissionError:
        raise AgentError(subject, "this user may not ask it", "run this as root") from None
    except (OSError, http.client.HTTPException) as error:
        raise AgentError(
            subject,
            f"it runs, but does not answer: {str(error) or type(error).__name__}",
            "look into its log; if it stays so, restart it (the data path stays) and report it with flanneld dump",
        ) from error
    finally:
        connection.close()
    if not isinstance(load_document(text), dict):
        raise AgentError(subject, f"its answer is {answer.status}, and no report", "look into its log")
    return text


def load_document(text: str) -> Any:
    """The JSON value, None when it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


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
