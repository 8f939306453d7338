# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the findings of all hosts come to: each cause told once, and specifically."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible_collections.weft.flannel.plugins.filter.build_verification import build

from tests.support.findings import MTU, Cluster


def told(cluster: Cluster, **options: Any) -> list[str]:
    return [problem["what"] for problem in build(cluster.findings, **options)["problems"]]


def verdicts(cluster: Cluster) -> dict[str, str]:
    (matrix,) = build(cluster.findings)["matrices"]
    ways = [way for row in matrix["rows"] for way in row if way["verdict"] != "self"]
    return {f"{way['source']} {way['target']}": way["verdict"] for way in ways}


def test_all_well() -> None:
    report = build(Cluster("n1", "n2", "n3").findings, generated="2026-01-02", network="blue")
    assert (report["passed"], report["problems"], report["notes"]) == (True, [], [])
    assert (report["format"], report["instance"], report["generated"]) == (1, "blue", "2026-01-02")
    assert report["summary"] == {
        "hosts": 3, "measured": 3, "ways": 6, "ways_well": 6, "smallest_mtu": MTU, "largest_mtu": MTU,
        "round_trip_ms": {"shortest": 0.25, "median": 0.25, "longest": 0.25},
    }  # fmt: skip
    assert [way["label"] for way in report["matrices"][0]["rows"][0]] == ["", "0.25", "0.25"]
    assert len(report["topology"]["lines"]) == 3
    json.dumps(report)


def test_a_host_that_does_not_forward() -> None:
    cluster = Cluster("n1", "n2", "n3")
    for other in ("n1", "n3"):
        cluster.lose_question("n2", other, host_reached=True)
        cluster.lose_question(other, "n2")
    (what,) = told(cluster)
    assert "n2 does not forward" in what
    assert verdicts(cluster)["n1 n3"] == "well"
    assert verdicts(cluster)["n1 n2"] == "lost"


def test_a_host_that_is_cut_off() -> None:
    cluster = Cluster("n1", "n2", "n3")
    for other in ("n1", "n3"):
        cluster.lose_question("n2", other)
        cluster.lose_question(other, "n2")
    (what,) = told(cluster)
    assert "n2: neither the host nor its containers reach anybody" in what


def test_one_direction() -> None:
    cluster = Cluster("n1", "n2", "n3")
    cluster.lose_question("n1", "n2", host_reached=True)
    cluster.lose_answer("n2", "n1")
    (what,) = told(cluster)
    assert "containers on n1 do not arrive at those on n2; in the other direction they do" in what
    assert "n1 itself gets through" in what
    assert (verdicts(cluster)["n1 n2"], verdicts(cluster)["n2 n1"]) == ("lost", "no return")


def test_masquerading_is_told_once_for_all_peers() -> None:
    cluster = Cluster("n1", "n2", "n3")
    for other in ("n2", "n3"):
        cluster.answer("n1", other)["seen_as"] = "192.0.2.1"
    (what,) = told(cluster)
    assert "n1: what its containers send to n2, n3 arrives with the address 192.0.2.1" in what


def test_a_small_mtu() -> None:
    cluster = Cluster("n1", "n2")
    cluster.answer("n1", "n2")["mtu"] = 1337
    (what,) = told(cluster)
    assert what == "From n1 to n2 packets of at most 1337 bytes pass, containers send 1450"
    assert build(cluster.findings)["matrices"][0]["rows"][0][1]["label"] == "MTU 1337"


def test_somebody_else_answers() -> None:
    cluster = Cluster("n1", "n2", "n3")
    cluster.answer("n1", "n2")["answered_by"] = cluster.hosts["n3"][1]["id"]
    assert told(cluster) == ["What containers on n1 send to n2 is answered by another host"]


def test_a_family_of_two() -> None:
    cluster = Cluster("n1", "n2", families=("ipv4", "ipv6"))
    cluster.answer("n1", "n2", "ipv6")["mtu"] = 1280
    (what,) = told(cluster)
    assert what.endswith("(IPv6)")
    assert [matrix["title"] for matrix in build(cluster.findings)["matrices"]] == ["IPv4", "IPv6"]


def test_a_host_that_ansible_did_not_reach() -> None:
    cluster = Cluster("n1", "n2", "n3")
    cluster.hosts["n2"][1:] = [{"unreachable": True, "msg": "timed out"}, {}, {}, {}]
    assert told(cluster) == ["n2: not measured. Ansible did not reach it"]
    assert verdicts(cluster)["n1 n2"] == "not measured"
    assert verdicts(cluster)["n1 n3"] == "well"


def test_a_host_without_subnet() -> None:
    cluster = Cluster("n1", "n2", "n3")
    cluster.hosts["n2"][1:4] = [{"failed": True, "msg": "subnet.env: No such file"}, {}, {"heard": None}]
    assert told(cluster) == ["n2: not measured. subnet.env: No such file"]


def test_agents_that_are_not_well() -> None:
    cluster = Cluster("n1", "n2")
    cluster.change_status("n1", ready=False, not_ready=["route 10.42.2.0/24 is missing"])
    cluster.hosts["n2"][4] = {"rc": 3, "stdout": "flanneld is not running\n", "msg": "non-zero return code"}
    assert told(cluster) == [
        "n1: flanneld is not ready: route 10.42.2.0/24 is missing",
        "n2: flanneld does not tell how it is: flanneld is not running",
    ]


def test_notes_do_not_fail_it() -> None:
    cluster = Cluster("n1", "n2")
    cluster.change_status(
        "n1",
        pending=["restart Docker"],
        peers=[{"lease": "10.42.9.0-24", "state": "refused", "reason": "overlaps"}],
        tables=[{"name": "route", "wanted": 2, "wrong": 1, "problems": 1, "repairs": 0}],
    )
    report = build(cluster.findings, left_out=["n3"])
    assert report["passed"]
    notes = " ".join(note["what"] for note in report["notes"])
    for words in ("n3: not in this run", "restart Docker", "10.42.9.0-24 is refused: overlaps", "2 objects"):
        assert words in notes


def test_a_hundred_hosts() -> None:
    names = [f"node{number:03d}" for number in range(1, 101)]
    cluster = Cluster(*names)
    for other in names[1:]:
        cluster.lose_question(other, names[0])
        cluster.lose_question(names[0], other, host_reached=True)
    start = time.process_time()
    report = build(cluster.findings)
    assert len(report["problems"]) == 1
    assert report["topology"]["only_failing"]
    assert len(report["topology"]["lines"]) == 99
    assert report["summary"]["ways_well"] == 99 * 98
    # Not quadratic in what is quadratic already; a machine a hundred times slower than usual passes.
    assert time.process_time() - start < 60
