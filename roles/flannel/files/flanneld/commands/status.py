# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`flanneld status`: how the running agent is. Exit codes as `systemctl status` has them."""

from __future__ import annotations

import sys
from typing import Mapping, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._agent import (
    AgentAbsent,
    AgentError,
    ask_agent,
    load_document,
)

from flanneld.commands.asking import parse_report
from flanneld.commands.settings import asks_for_help, read_settings, take_switches
from flanneld.commands.status_text import format_status
from flanneld.commands.traces import describe_traces

USAGE = """\
flanneld status [--json] [--peers] [--instance=NAME]

How the running agent is, and what to do if it is not well.

  --json    the report as the agent gives it (docs/status.md)
  --peers   a line for every peer, not only for those that are not well

Exit code: 0 ready, 1 not ready, 3 not running, 4 it does not answer.
"""
READY, NOT_READY, NOT_RUNNING, UNKNOWN = 0, 1, 3, 4


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Raises UsageError."""
    if asks_for_help(arguments):
        print(USAGE, end="")
        return 0
    switches, flags = take_switches(arguments, ("json", "peers"))
    settings = read_settings(flags, environment)
    try:
        text = ask_agent(settings.instance.socket)
        if "json" in switches:
            print(text.rstrip("\n"))
            return READY if load_document(text).get("ready") is True else NOT_READY
        report = parse_report(text)
    except AgentAbsent:
        if "json" in switches:
            print("null")
        else:
            print(f"NOT RUNNING: no flanneld serves network {settings.instance.name} on this host\n")
            print("\n".join(describe_traces(settings)))
        return NOT_RUNNING
    except AgentError as error:
        print(f"flanneld status: {error}", file=sys.stderr)
        return UNKNOWN
    print(format_status(report, "peers" in switches), end="")
    return READY if report.ready else NOT_READY
