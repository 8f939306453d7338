# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent says about itself, against what etcd and the kernel say.

That /metrics shows the same as the report is tests/agent/unit/test_metrics.py's affair.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from typing import Any, Dict, List, Tuple

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.cluster import Cluster
from tests.support.node import PREFIX, Node
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")

PORT = 8081
FETCH = (
    "import sys, urllib.request, urllib.error\n"
    "try: answer = urllib.request.urlopen(sys.argv[1], timeout=20)\n"
    "except urllib.error.HTTPError as error: answer = error\n"
    "print(answer.status, answer.read().decode(), end='')"
)


class Local(http.client.HTTPConnection):
    """To the Unix socket of an agent."""

    def __init__(self, node: Node) -> None:
        super().__init__("flanneld", timeout=30)
        self._path = str(node.host.run_dir / "flannel" / "flanneld.sock")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


def ask(node: Node, path: str = "/status") -> Tuple[int, str]:
    connection = Local(node)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def status(node: Node) -> Dict[str, Any]:
    code, body = ask(node)
    assert code == 200
    found: Dict[str, Any] = json.loads(body)
    return found


def fetch(node: Node, path: str) -> Tuple[int, str]:
    """Over TCP, from the host itself."""
    answer = node.host.execute(PYTHON, "-I", "-c", FETCH, f"http://127.0.0.1:{PORT}{path}")
    code, _space, body = answer.partition(" ")
    return int(code), body


def find_table(report: Dict[str, Any], name: str) -> Dict[str, Any]:
    (table,) = [one for one in report["tables"] if one["name"] == name]
    found: Dict[str, Any] = table
    return found


def find_metric(node: Node, sample: str) -> float:
    code, page = ask(node, "/metrics")
    assert code == 200
    (line,) = [line for line in page.splitlines() if line.startswith(f"{sample} ")]
    return float(line.rpartition(" ")[2])


@pytest.fixture
def pair(cluster: Cluster) -> Tuple[Cluster, Node, Node]:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2, flags=("--ip-masq", f"--healthz-port={PORT}"))
    wait_until(lambda: len(status(one)["peers"]) == 1, "each sees the other")
    wait_until(lambda: one.routes_to(two.host.subnet), "and has a route")
    return cluster, one, two


def test_every_figure_is_true(pair: Tuple[Cluster, Node, Node]) -> None:
    cluster, one, two = pair
    began = time.monotonic()
    first = status(one)
    report = wait_until(
        lambda: all(not table["wrong"] for table in status(one)["tables"]) and status(one), "it is at rest"
    )
    env = one.host.subnet_env

    # the agent
    version = one.host.execute(PYTHON, "-I", str(BUNDLE), "--version").strip()
    assert report["version"] == version
    assert report["instance"] == "default"
    assert report["pid"] == one.agent.pid
    passed = time.monotonic() - began
    assert 0 < report["uptime"] - first["uptime"] <= passed
    assert (report["phase"], report["waiting_for"]) == ("serving", "")
    assert (report["ready"], report["not_ready"], report["pending"]) == (True, [], [])
    assert report["node_id"] in cluster.etcd.ctl("get", "--prefix", "--keys-only", f"{PREFIX}/nodes/")
    assert report["host"] == one.host.name
    assert report["backend"] == cluster.backend
    assert report["mtu"] == int(env["FLANNEL_MTU"])
    assert report["firewall"] == "iptables"
    assert one.firewall()
    assert report["subnet_file"] == "/run/flannel/subnet.env"

    # its lease
    lease = report["lease"]
    assert f"{PREFIX}/subnets/{lease['key'].rpartition('/')[2]}" == one.lease_key
    assert (lease["ipv4"], lease["ipv6"]) == (str(one.host.subnet), "")
    assert (lease["reservation"], lease["held"]) == (False, True)
    assert lease["ttl"] == 86400
    assert lease["expires_in"] == pytest.approx(cluster.time_to_live(one.lease_key), abs=20)
    assert lease["renewals"] == one.agent.log.count("Lease renewed, new expiration: ")

    # the external interface
    card = report["interface"]
    assert card["name"] == "eth0"
    assert card["mtu"] == int(one.host.execute("cat", "/sys/class/net/eth0/mtu"))
    assert (card["ipv4"], card["public_ip"]) == (str(one.host.address), str(one.host.address))
    assert (card["ipv6"], card["public_ipv6"]) == ("", "")
    assert "eth0" in card["reason"] or "iface" in card["reason"]

    # the store
    store = report["store"]
    assert store["endpoints"] == [cluster.etcd.endpoint]
    assert store["prefix"] == PREFIX
    assert (store["reachable"], store["from_disk"], store["watch_breaks"]) == (True, False, 0)
    assert (store["last_error"], report["last_errors"]) == ("", [])
    assert 0 < store["since"] <= report["uptime"]
    assert 0 < store["revision"] <= cluster.revision()

    # the others
    (peer,) = report["peers"]
    assert f"{PREFIX}/subnets/{peer['lease'].rpartition('/')[2]}" == two.lease_key
    assert (peer["public_ip"], peer["public_ipv6"]) == (str(two.host.address), "")
    assert (peer["state"], peer["reason"], peer["data_path"]) == ("peer", "", "ok")
    assert report["unreadable"] == []

    # this host's kernel
    for table in report["tables"]:
        assert (table["wrong"], table["problems"], table["repairs"]) == (0, 0, 0), table
    ours = [route for route in one.routes() if re.search(r"\bproto (102|flannel)\b", route)]
    assert find_table(report, "route")["wanted"] == len(ours)
    assert find_table(report, "neighbour")["wanted"] == len(one.neighbours())
    assert find_table(report, "fdb")["wanted"] == len(one.fdb()) == 1
    assert find_table(report, "link")["wanted"] == 1
    own_address = [line for line in one.host.ip("-o -4 addr show dev flannel.1").splitlines() if line]
    assert find_table(report, "address")["wanted"] == len(own_address) == 1
    chains = [line for line in one.host.execute("iptables-save").splitlines() if line.startswith(":FLANNEL-")]
    assert find_table(report, "iptables")["wanted"] == len(chains) == 2
    assert find_table(report, "nftables")["wanted"] == 0


def test_pages_over_tcp_and_over_the_socket(pair: Tuple[Cluster, Node, Node]) -> None:
    _cluster, one, _two = pair
    for page in (fetch, ask):
        assert page(one, "/healthz") == (200, "flanneld is running\n")
        assert page(one, "/readyz") == (200, "flanneld is ready\n")
    assert fetch(one, "/status")[0] == 404
    code, text = fetch(one, "/metrics")
    assert code == 200
    assert "flannel_ready 1.0" in text.splitlines()
    assert (one.host.run_dir / "flannel" / "flanneld.sock").stat().st_mode & 0o777 == 0o600
    assert one.agent.stop() == 0
    assert not (one.host.run_dir / "flannel" / "flanneld.sock").exists()


def test_bad_leases_are_named_and_counted(pair: Tuple[Cluster, Node, Node]) -> None:
    cluster, one, two = pair
    stolen = cluster.leases()[two.lease_key].replace(str(two.host.address), str(one.host.address))
    cluster.put_with_lease("subnets/10.5.250.0-24", stolen)
    cluster.put("subnets/nonsense", "{}")

    def find_refused() -> List[Dict[str, Any]]:
        return [peer for peer in status(one)["peers"] if peer["state"] == "refused"]

    (refused,) = wait_until(find_refused, "the lease with our address is refused")
    assert "10.5.250.0-24" in refused["lease"]
    assert refused["public_ip"] == str(one.host.address)
    assert refused["reason"]
    (unreadable,) = wait_until(lambda: status(one)["unreadable"], "the nonsense is seen")
    assert "nonsense" in unreadable
    assert find_metric(one, 'flannel_peers{state="refused"}') == 1
    assert find_metric(one, 'flannel_peers{state="peer"}') == 1
    assert find_metric(one, "flannel_unreadable_leases") == 1


def test_what_the_kernel_refuses_is_named_and_counted_and_keeps_no_other_peer_away(cluster: Cluster) -> None:
    cluster.configure("host-gw")
    one, two = cluster.join(1, 2)
    far = {"PublicIP": "198.51.100.9", "BackendType": "host-gw"}  # behind a router, which host-gw cannot have
    cluster.put_with_lease("subnets/10.5.250.0-24", json.dumps(far))

    def find_broken() -> List[Dict[str, Any]]:
        return [peer for peer in status(one)["peers"] if peer["data_path"] != "ok"]

    (broken,) = wait_until(find_broken, "the kernel refuses the route")
    assert (broken["lease"], broken["state"], broken["reason"]) == ("10.5.250.0-24", "peer", "")
    assert "10.5.250.0/24" in broken["data_path"]
    report = status(one)
    table = find_table(report, "route")
    assert (table["wanted"], table["wrong"], table["problems"], table["repairs"]) == (2, 1, 1, 0)
    assert find_metric(one, "flannel_peers_broken") == 1
    assert find_metric(one, 'flannel_peers{state="peer"}') == 2
    assert find_metric(one, 'flannel_table_problems{table="route"}') == 1
    assert find_metric(one, 'flannel_table_wrong{table="route"}') == 1
    warnings = [
        line for line in one.agent.log.splitlines() if line.startswith("W") and "10.5.250.0/24" in line
    ]
    (error,) = [error for error in report["last_errors"] if "10.5.250.0/24" in error["text"]]
    assert error["count"] == len(warnings)
    assert 0 <= error["ago"] <= report["uptime"]
    assert find_metric(one, "flannel_recent_errors") == len(status(one)["last_errors"])
    # what works goes on
    assert report["ready"] is True
    assert one.routes_to(two.host.subnet)
    cluster.etcd.delete(f"{PREFIX}/subnets/10.5.250.0-24")
    wait_until(lambda: find_table(status(one), "route")["problems"] == 0, "nobody wants it any more")
    assert find_metric(one, "flannel_peers_broken") == 0


def test_peers_that_etcd_has_lost_are_told_as_kept(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    wait_until(lambda: len(status(one)["peers"]) == 1, "the peer is known")
    two.agent.kill()
    cluster.etcd.wipe()
    cluster.configure("vxlan")

    def find_kept() -> List[Dict[str, Any]]:
        return [peer for peer in status(one)["peers"] if peer["state"] == "kept"]

    (kept,) = wait_until(find_kept, "the peer is kept", 60)
    assert kept["public_ip"] == str(two.host.address)
    assert (bool(kept["reason"]), kept["data_path"]) == (True, "ok")
    assert find_metric(one, 'flannel_peers{state="kept"}') == 1
    assert find_metric(one, 'flannel_peers{state="peer"}') == 0
    assert one.routes_to(two.host.subnet)


def test_renewals_and_the_last_news_are_those_of_etcd(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    (one,) = cluster.join(1, flags=("--subnet-lease-ttl=6",))
    wait_until(lambda: status(one)["lease"]["renewals"] >= 3, "three renewals")
    before = one.agent.log.count("Lease renewed, new expiration: ")
    lease = status(one)["lease"]
    assert before <= lease["renewals"] <= one.agent.log.count("Lease renewed, new expiration: ")
    assert (lease["ttl"], lease["held"]) == (6, True)
    assert 0 < lease["expires_in"] <= 6
    cluster.put("subnets/nonsense", "{}")
    written = cluster.revision()
    wait_until(lambda: status(one)["store"]["revision"] == written, "the news of this very revision are in")


def test_repairs_are_counted(pair: Tuple[Cluster, Node, Node]) -> None:
    _cluster, one, two = pair
    (route,) = one.routes_to(two.host.subnet)
    one.host.ip(f"route del {two.host.subnet}")
    wait_until(lambda: find_table(status(one), "route")["repairs"] == 1, "one repair")
    assert one.routes_to(two.host.subnet) == [route]
    assert find_metric(one, 'flannel_table_repairs_total{table="route"}') == 1
    assert find_metric(one, 'flannel_table_wrong{table="route"}') == 0


def test_the_store_away_and_back(pair: Tuple[Cluster, Node, Node]) -> None:
    cluster, one, _two = pair
    before = status(one)
    cluster.etcd.kill()
    away = wait_until(
        lambda: (report := status(one)) and not report["store"]["reachable"] and report, "etcd is missed"
    )
    assert away["store"]["since"] < before["store"]["since"] + 60
    assert away["store"]["watch_breaks"] == 1
    assert away["store"]["last_error"]
    assert away["last_errors"]
    assert away["last_errors"][0]["count"] >= 1
    # the data path stands, and so does the lease
    assert (away["ready"], away["lease"]["held"]) == (True, True)
    assert away["lease"]["expires_in"] <= before["lease"]["expires_in"]
    cluster.etcd.start()
    back = wait_until(
        lambda: (report := status(one)) and report["store"]["reachable"] and report, "etcd is back"
    )
    assert back["store"]["since"] < 60


def test_unready_again_and_ready_again(pair: Tuple[Cluster, Node, Node]) -> None:
    """Upstream's /readyz stays ready whatever happens."""
    cluster, one, _two = pair
    assert one.container
    key, value = one.lease_key, cluster.leases()[one.lease_key]
    cluster.etcd.put(key, value.replace(str(one.host.address), "192.0.2.77"))
    wait_until(lambda: fetch(one, "/readyz")[0] == 503, "/readyz says that the subnet is lost")
    first, *reasons = fetch(one, "/readyz")[1].splitlines()
    assert first == "flanneld is not ready yet"
    assert "192.0.2.77" in reasons[0]
    assert fetch(one, "/healthz")[0] == 200
    assert find_metric(one, "flannel_ready") == 0
    assert find_metric(one, "flannel_lease_held") == 0
    assert find_metric(one, "flannel_not_ready_reasons") == len(reasons)
    cluster.etcd.delete(key)
    wait_until(lambda: fetch(one, "/readyz") == (200, "flanneld is ready\n"), "ready with the lease")


def test_an_agent_that_waits_says_for_what(cluster: Cluster) -> None:
    node = cluster.add_node(1, f"--healthz-port={PORT}")
    node.agent.start()
    node.agent.wait_log("Couldn't fetch network config")
    report = status(node)
    assert (report["phase"], report["ready"], report["lease"]) == ("starting", False, None)
    assert report["waiting_for"].startswith("fetch network config: ")
    assert fetch(node, "/healthz")[0] == 200
    code, text = fetch(node, "/readyz")
    assert code == 503
    assert "fetch network config" in text
    assert find_metric(node, 'flannel_phase{phase="starting"}') == 1
    cluster.configure("vxlan")
    node.agent.wait_ready()
    wait_until(lambda: fetch(node, "/readyz")[0] == 200, "ready")


def test_the_figures_of_ipv6(cluster: Cluster) -> None:
    cluster.configure("vxlan", ipv6=True)
    one, two = cluster.join(1, 2)
    report = wait_until(lambda: (found := status(one)) and found["peers"] and found, "each sees the other")
    assert (report["lease"]["ipv4"], report["lease"]["ipv6"]) == (str(one.host.subnet), str(one.host.subnet6))
    assert report["interface"]["ipv6"] == report["interface"]["public_ipv6"] == str(one.host.address6)
    assert report["peers"][0]["public_ipv6"] == str(two.host.address6)
    assert find_table(report, "link")["wanted"] == 2


def test_the_figures_of_a_reservation(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    value = {"PublicIP": "192.0.2.1", "BackendType": "vxlan", "BackendData": {"VNI": 1}}
    cluster.put("subnets/10.5.7.0-24", json.dumps(value))
    (one,) = cluster.join(1)
    lease = status(one)["lease"]
    assert (lease["ipv4"], lease["reservation"], lease["held"]) == ("10.5.7.0/24", True, True)
    assert (lease["expires_in"], lease["ttl"]) == (None, None)
    assert cluster.lease_id(one.lease_key) == 0
    assert "\nflannel_lease_remaining_seconds" not in ask(one, "/metrics")[1]


def test_a_life_from_disk_says_so(pair: Tuple[Cluster, Node, Node]) -> None:
    cluster, one, two = pair
    cluster.etcd.stop()
    assert one.agent.stop() == 0
    one.agent.start()
    one.agent.wait_ready()
    report = wait_until(
        lambda: (found := status(one)) and found["ready"] and found, "it says that it is ready"
    )
    assert (report["store"]["from_disk"], report["store"]["reachable"]) == (True, False)
    assert [peer["public_ip"] for peer in report["peers"]] == [str(two.host.address)]
    assert find_metric(one, "flannel_store_from_disk") == 1
    cluster.etcd.start()
    wait_until(lambda: not status(one)["store"]["from_disk"], "etcd has confirmed it")
    assert status(one)["store"]["reachable"]


def test_what_docker_has_to_be_restarted_for_is_pending(pair: Tuple[Cluster, Node, Node]) -> None:
    _cluster, one, _two = pair
    assert one.container
    one.host.ip("link set eth0 mtu 1400")
    report = wait_until(lambda: (found := status(one)) and found["pending"] and found, "a step is pending")
    assert report["interface"]["mtu"] == 1400
    assert report["mtu"] == 1350 == int(one.host.subnet_env["FLANNEL_MTU"])
    assert any("docker" in step.lower() for step in report["pending"])
    assert find_metric(one, "flannel_pending_steps") == len(report["pending"])


def test_a_docker_that_runs_no_container_is_not_asked_to_restart(pair: Tuple[Cluster, Node, Node]) -> None:
    """docker0 as many versions of Docker make it: --mtu is for containers, and the bridge follows with the first."""
    _cluster, one, _two = pair
    host = one.host
    host.ip("link add docker0 type bridge")
    host.ip(f"addr add {host.subnet_env['FLANNEL_SUBNET']} dev docker0")
    host.ip("link set docker0 up")
    assert status(one)["pending"] == []
    host.ip("link add veth1 type veth peer name veth2")
    host.ip("link set veth1 master docker0 up")
    (step,) = status(one)["pending"]
    assert step.startswith("docker0 has MTU 1500, 1450 is the most that fits")


def test_the_json_log_is_json_from_the_first_line_to_the_last(cluster: Cluster) -> None:
    node = cluster.add_node(1, "--log-format=json", "--v=1", f"--healthz-port={PORT}")
    node.agent.start()
    node.agent.wait_log("Couldn't fetch network config")
    cluster.configure("vxlan")
    node.agent.wait_ready()
    assert fetch(node, "/metrics")[0] == 200
    assert node.agent.stop() == 0
    entries = [json.loads(line) for line in node.agent.log.splitlines()]
    assert all({"time", "level", "source", "message"} <= set(entry) for entry in entries)
    assert entries[-1]["message"] == "Exiting cleanly..."
    assert {"info", "error"} <= {entry["level"] for entry in entries}
