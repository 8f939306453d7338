# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every figure of /metrics against the report it is read from."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import flanneld
import pytest
from flanneld.outputs.metrics import FIGURES, MetricsLibraryMissing, render_metrics
from flanneld.outputs.report import Report
from prometheus_client.parser import text_string_to_metric_families

from tests.support.reports import make_report

CARD = {
    "interface": "eth1",
    "ipv4": "192.0.2.11",
    "ipv6": "2001:db8::11",
    "public_ip": "198.51.100.11",
    "public_ipv6": "2001:db8:1::11",
}
LEASE = {"key": "10.1.2.0-24-fd00:1:2::-64", "ipv4": "10.1.2.0/24", "ipv6": "fd00:1:2::/64"}
AGENT = {
    "flannel_instance": "blue",
    "node_id": "6f1c",
    "host": "node-a",
    "backend": "vxlan",
    "firewall": "nftables",
}
STORE = {"endpoints": "https://192.0.2.1:2379,https://192.0.2.2:2379", "prefix": "/coreos.com/network"}
TRUTH = {
    "flannel_ready": [({}, 1)],
    "flannel_not_ready_reasons": [({}, 2)],
    "flannel_pending_steps": [({}, 3)],
    "flannel_phase": [({"phase": "starting"}, 0), ({"phase": "serving"}, 1), ({"phase": "stopping"}, 0)],
    "flannel_uptime_seconds": [({}, 1234.5)],
    "flannel_recent_errors": [({}, 8)],
    "flannel_build_info": [({"version": "0.1.2"}, 1)],
    "flannel_agent_info": [(AGENT, 1)],
    "flannel_interface_info": [(CARD, 1)],
    "flannel_interface_mtu_bytes": [({"interface": "eth1"}, 1500)],
    "flannel_mtu_bytes": [({}, 1450)],
    "flannel_lease_info": [(LEASE, 1)],
    "flannel_lease_held": [({}, 1)],
    "flannel_lease_reservation": [({}, 0)],
    "flannel_lease_remaining_seconds": [({}, 80000.25)],
    "flannel_lease_ttl_seconds": [({}, 86400)],
    "flannel_lease_renewals_total": [({}, 17)],
    "flannel_store_info": [(STORE, 1)],
    "flannel_store_reachable": [({}, 1)],
    "flannel_store_state_seconds": [({}, 99.75)],
    "flannel_store_revision": [({}, 123456)],
    "flannel_store_from_disk": [({}, 0)],
    "flannel_store_watch_breaks_total": [({}, 6)],
    "flannel_peers": [({"state": "peer"}, 2), ({"state": "refused"}, 4), ({"state": "kept"}, 1)],
    "flannel_peers_broken": [({}, 1)],
    "flannel_unreadable_leases": [({}, 7)],
    "flannel_table_wanted": [({"table": "link"}, 21), ({"table": "route"}, 31)],
    "flannel_table_wrong": [({"table": "link"}, 22), ({"table": "route"}, 32)],
    "flannel_table_problems": [({"table": "link"}, 23), ({"table": "route"}, 33)],
    "flannel_table_repairs_total": [({"table": "link"}, 24), ({"table": "route"}, 34)],
    "flannel_udp_datapath_info": [({"datapath": "kernel", "why": "a trial went well"}, 1)],
    "flannel_udp_joining_info": [({"joining": "true", "why": "another trial went well"}, 1)],
    "flannel_udp_xdp_info": [({"xdp": "true", "why": "asked for"}, 1)],
    "flannel_udp_sent_packets_total": [({}, 61)],
    "flannel_udp_sent_bytes_total": [({}, 62000)],
    "flannel_udp_received_packets_total": [({}, 63)],
    "flannel_udp_received_bytes_total": [({}, 64000)],
    "flannel_udp_joined_packets_total": [({}, 65)],
    "flannel_udp_dropped_packets_total": [
        ({"direction": f"way {n}", "reason": f"reason {n}"}, 71 + n) for n in range(5)
    ],
}


def scrape(report: Report) -> dict[str, list[tuple[dict[str, str], float]]]:
    page, content_type = render_metrics(report)
    assert content_type.startswith("text/plain; version=")
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_each_metric_is_what_the_report_says(figure):
    assert scrape(make_report())[figure.name] == TRUTH[figure.name]


def test_there_are_no_others_but_the_process_s():
    found = set(scrape(make_report()))
    assert {name for name in found if not name.startswith("process_")} == set(TRUTH)
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= found


def test_the_opposite_of_each_truth():
    report = make_report()
    assert report.lease is not None
    bad = dataclasses.replace(
        report,
        ready=False,
        phase="starting",
        lease=dataclasses.replace(report.lease, held=False, reservation=True, expires_in=None, ttl=None),
        store=dataclasses.replace(report.store, reachable=False, from_disk=True),
    )
    found = scrape(bad)
    assert found["flannel_ready"] == [({}, 0)]
    assert found["flannel_phase"][0] == ({"phase": "starting"}, 1)
    assert found["flannel_lease_held"] == [({}, 0)]
    assert found["flannel_lease_reservation"] == [({}, 1)]
    assert found["flannel_store_reachable"] == [({}, 0)]
    assert found["flannel_store_from_disk"] == [({}, 1)]
    assert "flannel_lease_remaining_seconds" not in found
    assert "flannel_lease_ttl_seconds" not in found


def test_an_agent_that_starts_has_no_lease_and_no_interface():
    bare = dataclasses.replace(
        make_report(),
        lease=None,
        interface=None,
        peers=(),
        tables=(),
        unreadable=(),
        last_errors=(),
        udp=None,
        udp_dropped=(),
    )
    found = scrape(bare)
    assert found["flannel_lease_held"] == [({}, 0)]
    assert found["flannel_peers"] == [({"state": state}, 0) for state in ("peer", "refused", "kept")]
    for absent in (
        "flannel_lease_info",
        "flannel_interface_info",
        "flannel_table_wanted",
        "flannel_udp_sent_packets_total",
        "flannel_udp_dropped_packets_total",
    ):
        assert absent not in found


def test_texts_from_outside_do_not_break_the_page():
    odd = dataclasses.replace(make_report(), backend='a"b\\c\nd', host="\udc80é")
    (labels, _value) = scrape(odd)["flannel_agent_info"][0]
    assert labels["backend"] == 'a"b\\c\nd'
    assert labels["host"] == "\\udc80é"


def test_without_the_library_the_message_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MetricsLibraryMissing, match="python3-prometheus-client"):
        render_metrics(make_report())


def test_the_library_is_loaded_by_the_first_scrape_only():
    source = (
        "import sys\nfrom flanneld.outputs import http, metrics\n"
        "assert 'prometheus_client' not in sys.modules, 'start-up pays for it'\n"
    )
    root = Path(flanneld.__file__).parents[1]
    collections = Path(__file__).parents[3] / "build" / "ac"
    subprocess.run(
        [sys.executable, "-c", source], check=True, env={"PYTHONPATH": f"{root}:{collections}"}, timeout=60
    )
