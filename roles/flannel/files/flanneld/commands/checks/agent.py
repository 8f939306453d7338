# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent, its unit and what it must be allowed to do."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.weft.flannel.plugins.module_utils._agent import AgentAbsent

from flanneld.commands.checks import FAIL, WARN, Check, Finding
from flanneld.commands.facts import Facts
from flanneld.commands.traces import find_next_step

_NET_ADMIN = 12  # CAP_NET_ADMIN, linux/capability.h


def check_unit(facts: Facts) -> Iterator[Finding]:
    unit, properties = facts.settings.instance.unit, facts.unit
    if not properties or properties.get("LoadState") == "not-found":
        yield Finding(WARN, f"systemd knows no {unit}", find_next_step(unit, properties))
    elif not properties.get("UnitFileState", "").startswith("enabled"):
        cause = (
            f"{unit} is {properties.get('UnitFileState', 'not enabled')}: after a boot there is no network"
        )
        yield Finding(FAIL, cause, f"systemctl enable {unit}")


def check_agent(facts: Facts) -> Iterator[Finding]:
    unit, error, report = facts.settings.instance.unit, facts.report_error, facts.report
    if isinstance(error, AgentAbsent):
        yield Finding(FAIL, "the agent is not running", find_next_step(unit, facts.unit))
    elif error is not None:
        yield Finding(FAIL, f"{error.subject}: {error.cause}", error.next_step)
    elif report is not None and not report.ready:
        for reason in report.not_ready:
            cause, _semicolon, step = reason.partition("; ")
            yield Finding(FAIL, cause, step or "flanneld status")


def check_pending(facts: Facts) -> Iterator[Finding]:
    for text in facts.report.pending if facts.report is not None else ():
        cause, _colon, step = text.partition(": ")
        yield Finding(WARN, cause, step or text)


def check_capability(facts: Facts) -> Iterator[Finding]:
    """Upstream: `Error registering network: operation not permitted`."""
    if not facts.capabilities >> _NET_ADMIN & 1:
        step = "run this as root; let the unit (or the container) have CAP_NET_ADMIN"
        yield Finding(FAIL, "CAP_NET_ADMIN is missing", step)


def check_data_path(facts: Facts) -> Iterator[Finding]:
    for table in facts.report.tables if facts.report is not None else ():
        if table.problems:
            step = "flanneld status --peers names them; the log says what the kernel answered"
            yield Finding(FAIL, f"the kernel refused {table.problems} of {table.wanted} ({table.name})", step)
        elif table.wrong:
            step = "look again in a minute; if it stays so: flanneld status, and the log"
            yield Finding(WARN, f"{table.wrong} of {table.wanted} ({table.name}) are being put right", step)


def check_refused(facts: Facts) -> Iterator[Finding]:
    for peer in facts.report.peers if facts.report is not None else ():
        if peer.state == "refused":
            step = "correct it on that host; until then nothing is sent there"
            yield Finding(WARN, f"the lease {facts.name_host(peer.lease)} is refused: {peer.reason}", step)


CHECKS = (
    Check("the service comes back after a boot", check_unit),
    Check("the agent runs and is ready", check_agent),
    Check("nothing waits for somebody", check_pending, needs_agent=True),
    Check("it may change the network", check_capability),
    Check("devices, routes and rules are right", check_data_path, needs_agent=True),
    Check("leases of other hosts are believable", check_refused, needs_agent=True),
)
