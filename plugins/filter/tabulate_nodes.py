# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of weft.flannel.status."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

DOCUMENTATION = r"""
name: tabulate_nodes
author: Weft contributors (@weft-net)
version_added: 0.1.0
short_description: Make one table of how flanneld is on all hosts
description:
  - A line for each host and instance, those that are not ready first, and below each of these what to do.
positional: _input
options:
  _input:
    description: >-
      What M(weft.flannel.flannel_node_info) returned, by host; an empty one for a host that could not be asked.
    type: dict
    required: true
seealso:
  - plugin: weft.flannel.flannel_node_info
    plugin_type: module
"""

EXAMPLES = r"""
- name: Show how the cluster is
  ansible.builtin.debug:
    msg: "{{ nodes | weft.flannel.tabulate_nodes }}"
"""

RETURN = r"""
_value:
  description: The lines of the table.
  type: list
  elements: str
"""

TITLES = ("host", "state", "subnet", "backend", "mtu", "peers", "version")
NEXT_STEP = (
    "ssh to it, or look at its console; containers there keep their connections while flanneld is away"
)

# A row of the table, and what is to be told below it.
Row = Tuple[Tuple[str, ...], List[str]]


def tabulate_nodes(nodes: Mapping[str, Mapping[str, Any]]) -> List[str]:
    """The lines. nodes: by host, the return values of flannel_node_info, {} for a host that could not be asked."""
    rows = [row for host in nodes for row in _make_rows(host, nodes[host])]
    rows.sort(key=lambda row: (row[0][1] == "ready", not row[1]))
    widths = [max(map(len, column)) for column in zip(TITLES, *(cells for cells, _notes in rows))]
    lines = [_align(TITLES, widths)]
    for cells, notes in rows:
        lines.append(_align(cells, widths))
        lines.extend(f"    {note}" for note in notes)
    return lines


def _make_rows(host: str, node: Mapping[str, Any]) -> Iterator[Row]:
    if "instances" not in node:
        cause = str(node.get("msg") or "it could not be asked").strip().splitlines()[-1]
        yield (host, "unreachable", *[""] * 5), [f"{cause}; {NEXT_STEP}"]
        return
    if not node["instances"]:
        yield (
            (host, "absent", *[""] * 5),
            ["it has no flanneld; run weft.flannel.site on it, or take it out of the group"],
        )
    for one in node["instances"]:
        yield _make_row(host, one)


def _make_row(host: str, one: Mapping[str, Any]) -> Row:
    report: Mapping[str, Any] = one["report"] or {}
    peers: Sequence[Mapping[str, Any]] = report.get("peers") or ()
    reached = sum(1 for peer in peers if peer["data_path"] == "ok")
    name = host if one["instance"] == "default" else f"{host} ({one['instance']})"
    cells = (
        name,
        one["state"],
        " ".join(one["subnets"]),
        one["backend"],
        str(one["mtu"] or ""),
        f"{reached}/{len(peers)}" if report else "",
        one["version"],
    )
    notes = [*one["problems"]]
    notes += [
        f"drift: {drift}; flanneld repairs it, see flanneld check if it stays" for drift in one["drift"]
    ]
    notes += [f"pending: {pending}" for pending in one["pending"]]
    return cells, notes


def _align(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip()


class FilterModule:
    """Tells Ansible the filter's name."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"tabulate_nodes": tabulate_nodes}
