# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a running agent how it is, at its Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, Dict, Tuple

from tests.support.agent import Agent


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("flanneld", timeout=30)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


def ask(agent: Agent, page: str) -> Tuple[int, str]:
    """Status code and text of a page, such as /readyz."""
    connection = _UnixConnection(agent.subnet_file.parent / "flanneld.sock")
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def read_report(agent: Agent) -> Dict[str, Any]:
    """What `flanneld status --json` prints."""
    code, text = ask(agent, "/status")
    assert code == http.client.OK, text
    report: Dict[str, Any] = json.loads(text)
    return report


def count_renewals(agent: Agent) -> int:
    """Of its lease, in this life."""
    return int(read_report(agent)["lease"]["renewals"])
