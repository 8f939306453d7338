# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The value behind the report of weft.flannel.verify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from ansible_collections.weft.flannel.plugins.plugin_utils._verification import (
    Findings,
    build_verification,
)

DOCUMENTATION = r"""
name: build_verification
author: Weft contributors (@weft-net)
version_added: 0.1.0
short_description: Compare what all hosts found out about the ways between them
description:
  - Judges every way between the container subnets of the hosts by what both its ends say, and tells each cause once.
  - It is what the playbook C(weft.flannel.verify) writes as JSON and as HTML.
positional: _input, left_out, generated, network
options:
  _input:
    description:
      - The hosts of the play, each as its name and four results, empty where the host was not reached.
      - Those of M(weft.flannel.flannel_probe), M(weft.flannel.flannel_probe_info), M(weft.flannel.flannel_probe) with
        O(weft.flannel.flannel_probe#module:state=absent), and C(flanneld status --json).
    type: list
    elements: list
    required: true
  left_out:
    description: Names of hosts that belong to the network and were not in the play.
    type: list
    elements: str
    default: []
  generated:
    description: When that was, as the report is to say it.
    type: str
    default: ""
  network:
    description: The name of the network.
    type: str
    default: default
seealso:
  - plugin: weft.flannel.flannel_probe_info
    plugin_type: module
"""

EXAMPLES = r"""
- name: Stop if a way between two hosts fails
  ansible.builtin.assert:
    that: (findings | weft.flannel.build_verification).passed
"""

RETURN = r"""
_value:
  description: >-
    C(passed), C(summary), C(problems) and C(notes), each with C(what) and C(next_step), C(hosts), C(matrices), one for
    each family, and C(topology).
  type: dict
"""

Result = Optional[Mapping[str, Any]]


def build(
    hosts: Sequence[Sequence[Any]],
    left_out: Sequence[str] = (),
    generated: str = "",
    network: str = "default",
) -> dict[str, Any]:
    """hosts: for each its name and four results, as the documentation says."""
    findings = [
        Findings(str(name), *(_copy_plain(result or {}) for result in results)) for name, *results in hosts
    ]
    return build_verification(findings, list(left_out), generated, network).as_dict()


def _copy_plain(value: Any) -> Any:
    """The same without Ansible's own kinds of containers, which nobody else can copy."""
    if isinstance(value, Mapping):
        return {str(key): _copy_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy_plain(item) for item in value]
    return value


class FilterModule:
    """Tells Ansible the filter's name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"build_verification": build}
