# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""What the findings of all hosts come to: the value behind the report of weft.flannel.verify. Pure.

Both ends of a way are compared, so that a way that is broken in one direction is told from one that is broken in both,
and what one host gets wrong is told once and not for each of its peers.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

FORMAT = 1
"""Of the value: fields may be added; a change of meaning is a new number."""

FAMILIES = ("ipv4", "ipv6")
FAMILY_NAMES = {"ipv4": "IPv4", "ipv6": "IPv6"}

WELL = "well"
LOST = "lost"
NO_RETURN = "no return"
OTHER_HOST = "other host"
MASQUERADED = "masqueraded"
SMALL_MTU = "small MTU"
NOT_MEASURED = "not measured"
SELF = "self"
FAILING = (LOST, NO_RETURN, OTHER_HOST, MASQUERADED, SMALL_MTU)

# Above this, a drawing of every way is a blot: only those that fail are drawn.
MOST_HOSTS_WITH_ALL_WAYS = 12


@dataclass(frozen=True)
class Findings:
    """What the play registered on one host: the results of flannel_probe, flannel_probe_info, flannel_probe with
    state=absent, and of `flanneld status --json`. Each is empty where the host was not reached."""

    name: str
    probe: Mapping[str, Any]
    asked: Mapping[str, Any]
    removed: Mapping[str, Any]
    status: Mapping[str, Any]

    @property
    def places(self) -> dict[str, Mapping[str, Any]]:
        """Where its probe stood, by family."""
        return {family: self.probe[family] for family in FAMILIES if self.probe.get(family)}

    @property
    def trouble(self) -> str:
        """Why it could not be measured, "" if it could."""
        if not self.probe or self.probe.get("unreachable"):
            return "Ansible did not reach it"
        for result in (self.probe, self.asked):
            if result.get("failed"):
                return str(result.get("msg", "the module failed"))
        if not self.asked or self.asked.get("unreachable"):
            return "Ansible lost it before it could ask"
        return ""


@dataclass(frozen=True)
class Way:
    """From the container subnet of one host to that of another, in one family.

    verdict: one of the constants above. label: a word or a figure for the matrix. text: a sentence. round_trip_ms,
    mtu (bytes), mtu_wanted, seen_as: None where not measured. host_reached: whether the host itself got through,
    asked only where its container did not.
    """

    source: str
    target: str
    family: str
    verdict: str
    label: str
    text: str
    round_trip_ms: Optional[float] = None
    mtu: Optional[int] = None
    mtu_wanted: Optional[int] = None
    seen_as: Optional[str] = None
    host_reached: Optional[bool] = None

    @property
    def fails(self) -> bool:
        return self.verdict in FAILING


@dataclass(frozen=True)
class Problem:
    """hosts: whom it is about. what: a sentence. next_step: an imperative."""

    hosts: tuple[str, ...]
    what: str
    next_step: str


@dataclass(frozen=True)
class Matrix:
    """All ways of one family: rows[i][j] leads from hosts[i] to hosts[j]."""

    family: str
    title: str
    rows: tuple[tuple[Way, ...], ...]
    shortest_ms: tuple[Optional[float], ...]
    median_ms: tuple[Optional[float], ...]
    smallest_mtu: tuple[Optional[int], ...]


@dataclass(frozen=True)
class Node:
    """A host in the drawing; x and y of its middle, in units of the drawing."""

    number: int
    name: str
    label: str
    x: float
    y: float
    well: bool


@dataclass(frozen=True)
class Line:
    """A way, or both of a pair, in the drawing."""

    x1: float
    y1: float
    x2: float
    y2: float
    well: bool
    text: str


@dataclass(frozen=True)
class Topology:
    width: float
    height: float
    radius: float
    nodes: tuple[Node, ...]
    lines: tuple[Line, ...]
    only_failing: bool


@dataclass(frozen=True)
class Host:
    """status: `flanneld status --json`, None if it did not answer. trouble: why it was not measured, "" if it was."""

    number: int
    name: str
    trouble: str
    places: Mapping[str, Mapping[str, Any]]
    status: Optional[Mapping[str, Any]]
    status_error: str
    drift: int


@dataclass(frozen=True)
class Summary:
    hosts: int
    measured: int
    ways: int
    ways_well: int
    round_trip_ms: Mapping[str, Optional[float]]
    smallest_mtu: Optional[int]
    largest_mtu: Optional[int]


@dataclass(frozen=True)
class Verification:
    """The whole of the report; as_dict() is its JSON."""

    generated: str
    instance: str
    passed: bool
    summary: Summary
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    hosts: tuple[Host, ...]
    matrices: tuple[Matrix, ...]
    topology: Topology
    format: int = field(default=FORMAT)

    def as_dict(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return value


def build_verification(
    findings: Sequence[Findings], left_out: Sequence[str], generated: str, instance: str
) -> Verification:
    """findings: of all hosts of the play, in its order. left_out: hosts of the group that were not in it. generated:
    the time, as the report shows it."""
    matrices = tuple(
        build_matrix(findings, family)
        for family in FAMILIES
        if any(family in host.places for host in findings)
    )
    ways = [way for matrix in matrices for row in matrix.rows for way in row if way.verdict != SELF]
    hosts = tuple(describe_host(number, host) for number, host in enumerate(findings, 1))
    problems = (*find_absent(hosts), *find_failing_ways(ways), *find_agents_unwell(hosts))
    trips = [way.round_trip_ms for way in ways if way.round_trip_ms is not None]
    mtus = [way.mtu for way in ways if way.mtu]
    return Verification(
        generated=generated,
        instance=instance,
        passed=not problems,
        summary=Summary(
            hosts=len(hosts),
            measured=sum(not host.trouble for host in hosts),
            ways=len(ways),
            ways_well=sum(way.verdict == WELL for way in ways),
            round_trip_ms={
                "shortest": min(trips, default=None),
                "median": round(statistics.median(trips), 3) if trips else None,
                "longest": max(trips, default=None),
            },
            smallest_mtu=min(mtus, default=None),
            largest_mtu=max(mtus, default=None),
        ),
        problems=problems,
        notes=tuple(find_notes(hosts, left_out)),
        hosts=hosts,
        matrices=matrices,
        topology=draw_topology(hosts, ways, problems),
    )


# ---- ways


def build_matrix(findings: Sequence[Findings], family: str) -> Matrix:
    rows = tuple(tuple(judge_way(source, target, family) for target in findings) for source in findings)
    trips = [[way.round_trip_ms for way in row if way.round_trip_ms is not None] for row in rows]
    return Matrix(
        family=family,
        title=FAMILY_NAMES[family],
        rows=rows,
        shortest_ms=tuple(min(row, default=None) for row in trips),
        median_ms=tuple(round(statistics.median(row), 3) if row else None for row in trips),
        smallest_mtu=tuple(min((way.mtu for way in row if way.mtu), default=None) for row in rows),
    )


def judge_way(source: Findings, target: Findings, family: str) -> Way:
    """What both ends say about it."""
    pair = (source.name, target.name, family)
    if source is target:
        return Way(*pair, SELF, "", "the host itself")
    for host in (source, target):
        if host.trouble:
            return Way(*pair, NOT_MEASURED, "\u2013", f"not measured: {host.name}: {host.trouble}")
        if family not in host.places:
            return Way(
                *pair,
                NOT_MEASURED,
                "\u2013",
                f"not measured: {host.name} has no {FAMILY_NAMES[family]} subnet",
            )
    answer = next(
        (
            item
            for item in source.asked.get("answers", ())
            if (item["peer"], item["family"]) == (target.name, family)
        ),
        None,
    )
    if answer is None:
        return Way(
            *pair, NOT_MEASURED, "\u2013", f"not measured: {source.name} was not told of {target.name}"
        )
    heard = find_heard(source, target, family)
    return _judge_answer(pair, answer, heard, source, target)


def find_heard(source: Findings, target: Findings, family: str) -> Optional[Mapping[str, Any]]:
    """What came from the source to the target, {} if nothing, None if the target cannot tell any more."""
    heard = target.removed.get("heard")
    if heard is None:
        return None
    return next((item for item in heard if (item["id"], item["family"]) == (source.probe["id"], family)), {})


def _judge_answer(
    pair: tuple[str, str, str],
    answer: Mapping[str, Any],
    heard: Optional[Mapping[str, Any]],
    source: Findings,
    target: Findings,
) -> Way:
    own = source.places[pair[2]]["address"]
    measured = {
        "round_trip_ms": answer["round_trip_ms"],
        "mtu": answer["mtu"],
        "mtu_wanted": answer["mtu_wanted"],
        "seen_as": answer["seen_as"] or (heard or {}).get("seen_as", [None])[0],
        "host_reached": answer["host_reached"],
    }
    refused = f" ({answer['error']})" if answer["error"] else ""
    if not answer["reached"]:
        if heard:
            text = f"arrives at {target.name}, whose answers do not come back{refused}"
            return Way(*pair, NO_RETURN, "NO RETURN", text, **measured)
        where = f"does not arrive at {target.name}" if heard is not None else f"{target.name} does not answer"
        return Way(*pair, LOST, "LOST", f"{where}{refused}", **measured)
    if answer["answered_by"] != target.probe["id"]:
        text = f"{answer['seen_as']} is answered by another host than {target.name}"
        return Way(*pair, OTHER_HOST, "OTHER HOST", text, **measured)
    if answer["seen_as"] != own:
        text = f"{target.name} sees {answer['seen_as']} instead of the container's {own}"
        return Way(*pair, MASQUERADED, "NAT", text, **measured)
    if (answer["mtu"] or 0) < answer["mtu_wanted"]:
        text = f"packets above {answer['mtu'] or 'the smallest size'} bytes do not pass, of {answer['mtu_wanted']}"
        return Way(*pair, SMALL_MTU, f"MTU {answer['mtu'] or '?'}", text, **measured)
    trip = answer["round_trip_ms"]
    label = "well" if trip is None else f"{trip:.2f}" if trip < 100 else f"{trip:.0f}"
    return Way(*pair, WELL, label, f"{label} ms, MTU {answer['mtu']}, source kept", **measured)


# ---- problems


def find_absent(hosts: Iterable[Host]) -> Iterator[Problem]:
    """Hosts that could not be measured, together where the reason is the same."""
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for host in hosts:
        if host.trouble:
            reasons[host.trouble].append(host.name)
    for reason, names in reasons.items():
        yield Problem(
            tuple(names),
            f"{_join(names)}: not measured. {reason}",
            "mend that and run the playbook again, or leave the host out with --limit",
        )


def find_failing_ways(ways: Sequence[Way]) -> Iterator[Problem]:
    """One problem for each cause, as far as the ways tell."""
    for family in FAMILIES:
        table = {(way.source, way.target): way for way in ways if way.family == family}
        suffix = f" ({FAMILY_NAMES[family]})" if len({way.family for way in ways}) > 1 else ""
        cut_off = tuple(_find_cut_off(table))
        for name in cut_off:
            yield _tell_cut_off(name, table, suffix)
        rest = {
            pair: way
            for pair, way in table.items()
            if way.fails and not (way.verdict in (LOST, NO_RETURN) and set(pair) & set(cut_off))
        }
        yield from _tell_rest(rest, suffix)


def _find_cut_off(table: Mapping[tuple[str, str], Way]) -> Iterator[str]:
    """Hosts of which every way, there and back, carries nothing: with three hosts or more it is they who are broken."""
    names = list(dict.fromkeys(source for source, _target in table))
    for name in names:
        own = [way for pair, way in table.items() if name in pair and way.verdict != NOT_MEASURED]
        if len(own) >= 4 and all(way.verdict in (LOST, NO_RETURN) for way in own):
            yield name


def _tell_cut_off(name: str, table: Mapping[tuple[str, str], Way], suffix: str) -> Problem:
    outgoing = [way for pair, way in table.items() if pair[0] == name]
    if any(way.host_reached for way in outgoing):
        return Problem(
            (name,),
            f"{name}: its containers reach nobody, and nobody reaches them, but the host itself gets "
            f"through{suffix}: {name} does not forward",
            f"on {name}: flanneld check; then look for a DROP before FLANNEL-FWD in `iptables -S FORWARD` and "
            "`nft list ruleset`, and for forwarding in `sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding`",
        )
    return Problem(
        (name,),
        f"{name}: neither the host nor its containers reach anybody, and nobody reaches them{suffix}",
        f"on {name}: flanneld status, flanneld check; then see whether the packets of the backend pass between the "
        "hosts (firewall, UDP port)",
    )


def _tell_rest(failing: Mapping[tuple[str, str], Way], suffix: str) -> Iterator[Problem]:
    groups: defaultdict[tuple[str, str, Optional[str], Optional[bool]], list[Way]] = defaultdict(list)
    for (source, target), way in failing.items():
        back = failing.get((target, source))
        if way.verdict == NO_RETURN and back is not None and back.verdict == LOST:
            continue  # the same, seen from the other end
        detail = {MASQUERADED: way.seen_as, SMALL_MTU: str(way.mtu)}.get(way.verdict)
        groups[way.verdict, source, detail, way.host_reached].append(way)
    for (verdict, source, _detail, host_reached), ways in groups.items():
        targets = [way.target for way in ways]
        there = _join(targets)
        hosts = (source, *targets)
        if verdict == LOST:
            one_way = all(
                (back := failing.get((way.target, source))) is None or back.verdict == NO_RETURN
                for way in ways
            )
            what = f"Packets from containers on {source} do not arrive at those on {there}{suffix}"
            if one_way:
                what += "; in the other direction they do"
            if host_reached:
                what += f"; {source} itself gets through, so look at what {source} forwards"
            yield Problem(
                hosts, what, f"flanneld check on {source} and {there}; then follow one packet with tcpdump"
            )
        elif verdict == NO_RETURN:
            what = f"{there}: what comes from containers on {source} arrives, the answers do not come back{suffix}"
            yield Problem(hosts, what, f"flanneld check on {there} and on {source}")
        elif verdict == MASQUERADED:
            yield Problem(
                hosts,
                f"{source}: what its containers send to {there} arrives with the address {ways[0].seen_as} instead of "
                f"their own{suffix}",
                f"on {source}: look for a MASQUERADE or SNAT before FLANNEL-POSTRTG in `iptables -t nat -S "
                "POSTROUTING` and `nft list ruleset`; Docker must run with --ip-masq=false (flanneld check)",
            )
        elif verdict == SMALL_MTU:
            yield Problem(
                hosts,
                f"From {source} to {there} packets of at most {ways[0].mtu or 'a few'} bytes pass, containers send "
                f"{ways[0].mtu_wanted}{suffix}",
                "compare the MTU of the interfaces and of the network between the hosts; set MTU in flannel_backend, "
                "or the interface to what the network carries, and restart flanneld",
            )
        else:
            yield Problem(
                hosts,
                f"What containers on {source} send to {there} is answered by another host{suffix}",
                "two hosts have one subnet or one address: flanneld check on both ends",
            )


def find_agents_unwell(hosts: Iterable[Host]) -> Iterator[Problem]:
    for host in hosts:
        if host.trouble.startswith("Ansible"):
            continue
        if host.status is None:
            yield Problem(
                (host.name,),
                f"{host.name}: flanneld does not tell how it is: {host.status_error}",
                f"on {host.name}: systemctl status flanneld; flanneld status",
            )
        elif not host.status.get("ready"):
            reasons = "; ".join(
                map(str, host.status.get("not_ready") or [host.status.get("waiting_for", "")])
            )
            yield Problem(
                (host.name,),
                f"{host.name}: flanneld is not ready: {reasons}",
                f"on {host.name}: flanneld check",
            )


def find_notes(hosts: Iterable[Host], left_out: Sequence[str]) -> Iterator[Problem]:
    """What does not fail the verification and should be known."""
    if left_out:
        yield Problem(
            tuple(left_out),
            f"{_join(left_out)}: not in this run (--limit), so the ways to and from there were not measured",
            "run the playbook without --limit",
        )
    for host in hosts:
        if host.status is None:
            continue
        for pending in host.status.get("pending", ()):
            yield Problem(
                (host.name,), f"{host.name}: pending: {pending}", "do it when the host may be disturbed"
            )
        if host.drift:
            yield Problem(
                (host.name,),
                f"{host.name}: {host.drift} objects of the data path are missing, differ, or are refused by the kernel",
                f"on {host.name}: flanneld status, flanneld check",
            )
        for peer in host.status.get("peers", ()):
            if peer.get("state") != "peer":
                yield Problem(
                    (host.name,),
                    f"{host.name}: the lease {peer.get('lease')} is {peer.get('state')}: {peer.get('reason')}",
                    f"on {host.name}: flanneld status --peers",
                )


def _join(names: Sequence[str]) -> str:
    """For people: the first few, and how many more."""
    shown = ", ".join(names[:6])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown


# ---- hosts


def describe_host(number: int, host: Findings) -> Host:
    status, error = read_status(host.status)
    tables = status.get("tables", ()) if status else ()
    return Host(
        number=number,
        name=host.name,
        trouble=host.trouble,
        places=host.places,
        status=status,
        status_error=error,
        drift=sum(table.get("wrong", 0) + table.get("problems", 0) for table in tables),
    )


def read_status(result: Mapping[str, Any]) -> tuple[Optional[Mapping[str, Any]], str]:
    """The report of the agent from the result of the command, or None and why there is none."""
    text = str(result.get("stdout", ""))
    try:
        status = json.loads(text)
        if isinstance(status, dict):
            return status, ""
    except ValueError:
        pass
    said = str(result.get("stderr") or text or result.get("msg", "")).strip()
    return None, said.splitlines()[0] if said else "it was not asked"


# ---- the drawing


def draw_topology(hosts: Sequence[Host], ways: Sequence[Way], problems: Sequence[Problem]) -> Topology:
    """The hosts on an ellipse, from the top in the order of the play; a line for each pair, or for those that fail."""
    count = len(hosts)
    crowded = count > MOST_HOSTS_WITH_ALL_WAYS
    width, height = (900.0, 480.0) if not crowded else (900.0, 900.0)
    radius = 34.0 if not crowded else max(9.0, min(20.0, 900.0 / count))
    across, down = width / 2 - 110, height / 2 - 75
    if crowded:
        across = down = width / 2 - radius - 6
    blamed = {name for problem in problems for name in problem.hosts[:1]}
    nodes = []
    for index, host in enumerate(hosts):
        turn = 2 * math.pi * index / max(count, 1) - math.pi / 2
        label = next((str(place["address"]) for place in host.places.values()), "not measured")
        lease = (host.status or {}).get("lease") or {}
        nodes.append(
            Node(
                number=host.number,
                name=host.name,
                label=str(lease.get("ipv4") or lease.get("ipv6") or label),
                x=round(width / 2 + (across * math.cos(turn) if count > 1 else 0), 1),
                y=round(height / 2 - 15 + (down * math.sin(turn) if count > 1 else 0), 1),
                well=host.name not in blamed,
            )
        )
    return Topology(
        width, height, radius, tuple(nodes), tuple(_draw_lines(nodes, ways, crowded)), only_failing=crowded
    )


def _draw_lines(nodes: Sequence[Node], ways: Sequence[Way], only_failing: bool) -> Iterator[Line]:
    places = {node.name: node for node in nodes}
    pairs: defaultdict[tuple[int, int], list[Way]] = defaultdict(list)
    for way in ways:
        one, other = sorted((places[way.source].number, places[way.target].number))
        pairs[one, other].append(way)
    for (one, other), both in pairs.items():
        failing = [way for way in both if way.fails]
        if failing or (not only_failing and any(way.verdict == WELL for way in both)):
            start, end = nodes[one - 1], nodes[other - 1]
            text = "; ".join(f"{way.source} to {way.target}: {way.text}" for way in failing or both)
            yield Line(start.x, start.y, end.x, end.y, not failing, text)
