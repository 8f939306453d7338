# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Openings by ufw: rules with a comment of ours, in the form that `ufw show added` prints and `ufw` takes.

Nothing for forwarding: ufw's DROP is the policy of FORWARD, which flanneld's own chain comes before.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Iterable, List, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import OptionError
from ansible_collections.weft.flannel.plugins.module_utils._passage import Passage, Plan

_RULE = re.compile(r"ufw (?P<text>.+?)(?: comment '(?P<comment>.*)')?")
_NAMES = {"ESP": "esp"}
"""What ufw calls protocols; it has no word for IP in IP, nor does it take numbers."""


@dataclass(frozen=True)
class UfwRule:
    """text: the arguments of ufw that make it, without the comment."""

    text: str
    comment: str


def parse_added(output: str) -> Tuple[UfwRule, ...]:
    """The rules in what `ufw show added` prints."""
    matches = (_RULE.fullmatch(line) for line in output.splitlines())
    return tuple(UfwRule(match["text"], match["comment"] or "") for match in matches if match is not None)


def plan_rules(name: str, passages: Sequence[Passage], there: Sequence[UfwRule], exclusive: bool) -> Plan:
    """From the rules that are there to those that let the passages through. Raises OptionError for what ufw cannot do.

    A rule that somebody else has made says the same as ours would; it stays, and stays theirs.
    """
    comment = f"weft.flannel {name}"
    ours = [rule.text for rule in there if rule.comment == comment]
    others = {rule.text for rule in there if rule.comment != comment}
    wanted = [text for text in _render(passages) if text not in others]
    kept = [text for text in ours if text in wanted or not exclusive]
    missing = [text for text in wanted if text not in ours]
    commands = [("ufw", *shlex.split(text), "comment", comment) for text in missing]
    commands += [("ufw", "delete", *shlex.split(text)) for text in ours if text not in kept]
    return Plan(tuple(sorted(ours)), tuple(sorted({*kept, *missing})), tuple(commands))


def _render(passages: Iterable[Passage]) -> List[str]:
    rules = []
    for passage in passages:
        opening = passage.opening
        if opening is None:
            continue
        if opening.port is not None:
            rules.append(f"allow from {passage.host} to any port {opening.port} proto {opening.protocol}")
        elif opening.protocol in _NAMES:
            rules.append(f"allow from {passage.host} proto {_NAMES[opening.protocol]}")
        else:
            raise OptionError(
                f"option config: the backend needs {opening}",
                "ufw has no rules for that protocol",
                "add `-A ufw-before-input -p 4 -s HOSTS -j ACCEPT` to /etc/ufw/before.rules yourself, "
                "or choose another backend",
            )
    return rules
