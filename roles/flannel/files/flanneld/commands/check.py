# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`flanneld check`: every known cause of trouble that a host can see for itself."""

from __future__ import annotations

from typing import Iterator, List, Mapping, Optional, Sequence, Tuple

from flanneld.commands.checks import FAIL, Check, Finding, agent, consumers, kernel, store
from flanneld.commands.facts import Facts, read_facts
from flanneld.commands.settings import asks_for_help, read_settings
from flanneld.outputs.one_line import escape

USAGE = """\
flanneld check [--instance=NAME]

Looks at this host for the known causes of trouble, one line each: ok, warn, FAIL with its cause and what to do next,
or "-" for what cannot be told now. It changes nothing, and sends nothing but a few pings to other hosts.

Exit code: 0 nothing failed, 1 something did.
"""
CHECKS: Tuple[Check, ...] = (*agent.CHECKS, *store.CHECKS, *kernel.CHECKS, *consumers.CHECKS)


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Raises UsageError, KernelError."""
    if asks_for_help(arguments):
        print(USAGE, end="")
        return 0
    facts = read_facts(read_settings(arguments, environment))
    failed = 0
    for check in CHECKS:
        findings = find(check, facts)
        failed += any(finding.level == FAIL for finding in findings or ())
        print("\n".join(format_check(check, findings)))
    print(f"\n{len(CHECKS)} checks, {failed} failed; settings: {facts.settings.source}")
    return 1 if failed else 0


def find(check: Check, facts: Facts) -> Optional[List[Finding]]:
    """What it finds, None when it cannot be told now."""
    if (check.needs_store and facts.store is None) or (check.needs_agent and facts.report is None):
        return None
    return list(check.run(facts))


def format_check(check: Check, findings: Optional[Sequence[Finding]]) -> Iterator[str]:
    if findings is None:
        yield f"-     {check.name}: cannot be told without {'etcd' if check.needs_store else 'the agent'}"
    elif not findings:
        yield f"ok    {check.name}"
    for finding in findings or ():
        yield f"{finding.level:<5} {check.name}: {escape(finding.cause)}"
        yield f"        next: {escape(finding.next_step)}"
