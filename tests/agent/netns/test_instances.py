# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two networks on each of two hosts: one agent for each, which leave each other alone (spec 8.4, F8 and F9 of 9.1)."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

import pytest

from tests.support.agent import BUNDLE, PYTHON, Agent
from tests.support.asking import read_report
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")


@dataclass(frozen=True)
class Network:
    """instance: "" is the default one. device: of vxlan, "" for host-gw."""

    instance: str
    prefix: str
    network: str
    backend: Mapping[str, object]
    device: str

    @property
    def suffix(self) -> str:
        return f"-{self.instance}" if self.instance else ""

    def config(self, nftables: bool) -> str:
        return json.dumps(
            {"Network": self.network, "EnableNFTables": nftables, "Backend": dict(self.backend)}
        )


VXLAN = Network("", "/vxlan/network", "10.11.0.0/16", {"Type": "vxlan"}, "flannel.1")
HOST_GW = Network("gw", "/hostgw/network", "10.12.0.0/16", {"Type": "host-gw"}, "")
SECOND_VXLAN = Network("blue", "/blue/network", "10.12.0.0/16", {"Type": "vxlan", "VNI": 2}, "flannel.2-blue")


class Member:
    """One host in one network, with upstream's dummy device in its subnet (a bridge: some kernels have no dummies)."""

    def __init__(self, network: Network, agent: Agent) -> None:
        self.network, self.agent, self.host = network, agent, agent.host

    @property
    def _subnet(self) -> str:
        lines = self.agent.subnet_file.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)["FLANNEL_SUBNET"]

    @property
    def address(self) -> str:
        return str(ip_interface(self._subnet).ip)

    def add_dummy(self) -> None:
        name = f"dummy{self.network.suffix}"
        self.host.ip(f"link add {name} type bridge")
        self.host.ip(f"addr add {self._subnet} dev {name}")
        self.host.ip(f"link set {name} up")

    def ping(self, target: Member, *options: str) -> str:
        """What ping printed. It goes out from our own address unless the options say where."""
        where = () if "-I" in options else ("-I", self.address)
        return self.host.execute("ping", "-W", "1", *where, *options, target.address, check=False)

    def reaches(self, target: Member, *options: str) -> bool:
        return " 0% packet loss" in self.ping(target, "-c", "3", "-i", "0.1", *options)

    @contextmanager
    def pinging(self, target: Member) -> Iterator[None]:
        """100 packets a second from `with` to its end, of which none is lost."""
        command = ("ping", "-i", "0.01", "-I", self.address, target.address)
        with subprocess.Popen([*self.host.prefix, *command], stdout=subprocess.PIPE, text=True) as process:
            yield
            process.send_signal(signal.SIGINT)
            output, _nothing = process.communicate()
        found = re.search(r"(\d+) packets transmitted, (\d+) received", output)
        assert found, output
        sent, received = map(int, found.groups())
        assert received > 50
        assert sent - received <= 1, output  # the one that was on its way at the end

    def state(self) -> Dict[str, Sequence[str]]:
        """What this network has on this host."""
        chains = re.compile(rf"\bFLANNEL-(POSTRTG|FWD){self.network.suffix.upper()}( |$)")
        rules = [self.host.execute("iptables", "-t", table, "-S").splitlines() for table in ("nat", "filter")]
        commands = {
            "routes": ("ip", "route", "show", "root", self.network.network, "proto", "102"),
            "nftables": ("nft", "list", "table", "ip", f"flannel-ipv4{self.network.suffix}"),
        }
        if self.network.device:
            commands["device"] = ("ip", "-d", "-o", "addr", "show", self.network.device)
            commands["neighbours"] = ("ip", "neigh", "show", "dev", self.network.device, "nud", "permanent")
            commands["fdb"] = ("bridge", "fdb", "show", "dev", self.network.device)
        state: Dict[str, Sequence[str]] = {
            what: sorted(self.host.execute(*command, check=False).splitlines())
            for what, command in commands.items()
        }
        state["rules"] = [rule for table in rules for rule in table if chains.search(rule)]
        state["files"] = [str(path) for path in (self.agent.subnet_file,) if path.exists()]
        return state

    def clean_up(self) -> str:
        """`flanneld cleanup`, with the settings of the service."""
        done = subprocess.run(
            [*self.host.prefix, PYTHON, str(BUNDLE), "cleanup", *self.agent.arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


Pair = Tuple[Member, Member]


@pytest.fixture(params=[False, True], ids=["iptables", "nftables"])
def nftables(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=[HOST_GW, SECOND_VXLAN], ids=["vxlan and host-gw", "vxlan twice"])
def networks(cluster: Cluster, nftables: bool, request: pytest.FixtureRequest) -> Iterator[Tuple[Pair, Pair]]:
    """Both hosts in the default network, and in another one."""
    other: Network = request.param
    for network in (VXLAN, other):
        cluster.etcd.put(f"{network.prefix}/config", network.config(nftables))
    nodes = [cluster.add_node(number, f"--etcd-prefix={VXLAN.prefix}", "--ip-masq") for number in (1, 2)]
    with ExitStack() as stack:
        flags = (f"--etcd-endpoints={cluster.etcd.endpoint}", "--iface=eth0", "--ip-masq")
        more: List[Agent] = []
        for node in nodes:
            agent = Agent(node.host, *flags, f"--etcd-prefix={other.prefix}", instance=other.instance)
            stack.callback(agent.close)
            more.append(agent)
        first = (Member(VXLAN, nodes[0].agent), Member(VXLAN, nodes[1].agent))
        second = (Member(other, more[0]), Member(other, more[1]))
        for member in (*first, *second):
            member.agent.start()
        for member in (*first, *second):
            member.agent.wait_ready()
            member.add_dummy()
        yield first, second


def assert_connected(pair: Pair) -> None:
    one, two = pair
    for source, target in ((one, two), (two, one)):
        wait_until(lambda source=source, target=target: source.reaches(target), f"{source.network.prefix}")


def test_f8_both_networks_connect_the_hosts(networks: Tuple[Pair, Pair]) -> None:
    for pair in networks:
        assert_connected(pair)
        for member in pair:
            network, report = member.network, read_report(member.agent)
            assert report["ready"], report["not_ready"]
            assert report["instance"] == (network.instance or "default")
            assert member.agent.subnet_file.parent.name == f"flannel{network.suffix}"
            assert f"FLANNEL_NETWORK={network.network}\n" in member.agent.subnet_file.read_text()
            state = member.state()
            assert len(state["routes"]) == 1
            assert bool(state["nftables"]) != bool(state["rules"]), "rules by one firewall manager"
            rules = " ".join((*state["nftables"], *state["rules"]))
            assert network.network in rules
            (foreign,) = {VXLAN.network, HOST_GW.network} - {network.network}
            assert foreign not in rules


@pytest.mark.parametrize("networks", [HOST_GW], indirect=True, ids=["vxlan and host-gw"])
def test_f9_the_wrong_device_leads_nowhere(networks: Tuple[Pair, Pair]) -> None:
    vxlan, host_gw = networks
    for pair in networks:
        assert_connected(pair)
    assert not host_gw[1].reaches(host_gw[0], "-I", "flannel.1")
    assert not vxlan[1].reaches(vxlan[0], "-I", "eth0")


@pytest.mark.parametrize("ending", [0, 1], ids=["default ends", "other ends"])
def test_one_ends_is_cleaned_up_and_comes_back_beside_the_other(
    networks: Tuple[Pair, Pair], ending: int
) -> None:
    going, staying = networks[ending], networks[1 - ending]
    for pair in networks:
        assert_connected(pair)
    one, other = going[0], staying[0]
    wait_until(lambda: read_report(other.agent)["ready"], "at rest")
    before = other.state()
    with other.pinging(staying[1]):
        assert one.agent.stop() == 0
        assert one.reaches(going[1]), "its data path stays"
        one.clean_up()
        left = one.state()
        assert not any(left.values()), left
        assert other.state() == before
        one.agent.start()
        one.agent.wait_ready()
        assert other.state() == before
    assert read_report(other.agent)["ready"]
    for table in read_report(other.agent)["tables"]:
        assert table["repairs"] == 0, table


@pytest.mark.parametrize(
    "theirs", ["10.11.0.0/16", "10.11.128.0/17", "10.0.0.0/8"], ids=["same", "inside", "around"]
)
def test_a_network_that_overlaps_another_of_the_host_is_refused(cluster: Cluster, theirs: str) -> None:
    """Each agent would take the other's routes for leftovers, and remove them without end. Who was there first stays,
    over restarts, too."""
    cluster.etcd.put(f"{VXLAN.prefix}/config", VXLAN.config(False))
    cluster.etcd.put(f"{SECOND_VXLAN.prefix}/config", replace(SECOND_VXLAN, network=theirs).config(False))
    nodes = [cluster.add_node(number, f"--etcd-prefix={VXLAN.prefix}", "--ip-masq") for number in (1, 2)]
    first = Member(VXLAN, nodes[0].agent), Member(VXLAN, nodes[1].agent)
    for member in first:
        member.agent.start()
    for member in first:
        member.agent.wait_ready()
        member.add_dummy()
    assert_connected(first)
    one = first[0]
    before = one.state()
    flags = (
        f"--etcd-endpoints={cluster.etcd.endpoint}",
        "--iface=eth0",
        f"--etcd-prefix={SECOND_VXLAN.prefix}",
    )
    with ExitStack() as stack:
        second = Agent(one.host, *flags, instance=SECOND_VXLAN.instance)
        stack.callback(second.close)
        with one.pinging(first[1]):
            second.start()
            complaint = second.wait_complaint(1)
            assert f"network {theirs} of instance blue overlaps 10.11.0.0/16 of instance default" in complaint
            assert one.agent.stop() == 0
            one.agent.start()
            one.agent.wait_ready()
            assert one.state() == before
        assert not second.subnet_file.exists()
        cluster.etcd.put(f"{SECOND_VXLAN.prefix}/config", SECOND_VXLAN.config(False))
        second.wait_ready()
        assert one.reaches(first[1])
        # The other way round: a config that comes later is not taken, and what was there goes on.
        cluster.etcd.put(f"{SECOND_VXLAN.prefix}/config", replace(SECOND_VXLAN, network=theirs).config(False))
        wait_until(lambda: "overlaps" in second.complaints()[-1], "it says that it keeps what it has")
        second.stop()
        second.start()
        second.wait_ready()
        assert "FLANNEL_NETWORK=10.12.0.0/16\n" in second.subnet_file.read_text()
        assert one.reaches(first[1])
    assert one.state() == before
