# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands on the real kernel: cleanup takes exactly what is ours, check and dump see what is there."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.cluster import Cluster
from tests.support.netns import SWITCH_ADDRESS, Host
from tests.support.node import Node
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")

SUBNET_ENV = (
    "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
)
VTEP = "address 02:00:00:00:05:01 mtu 1450 type vxlan local 192.0.2.1 dev eth0 dstport 8472 nolearning"

# What an agent leaves behind when it stops: ip commands, then iptables rules.
OURS = (
    f"link add flannel.1 {VTEP} id 1",
    "link set flannel.1 up",
    "addr add 10.5.72.0/32 dev flannel.1",
    "neigh add 10.5.3.0 lladdr 02:00:00:00:05:03 dev flannel.1 nud permanent",
    "route add 10.5.3.0/24 via 10.5.3.0 dev flannel.1 onlink proto 102",
    "route add 10.5.4.0/24 via 192.0.2.4 dev eth0 proto 102",
    "route add 10.5.6.0/24 via 192.0.2.6 dev eth0",  # upstream's host-gw: protocol boot, exactly one slot
    "route add blackhole 10.5.72.0/24 metric 4278198272 proto 102",
)
OUR_RULES = (
    "-t nat -N FLANNEL-POSTRTG",
    "-t nat -A FLANNEL-POSTRTG -s 10.5.0.0/16 -j MASQUERADE",
    "-t nat -I POSTROUTING -j FLANNEL-POSTRTG",
    "-N FLANNEL-FWD",
    "-A FLANNEL-FWD -s 10.5.0.0/16 -j ACCEPT",
    "-I FORWARD -j FLANNEL-FWD",
)
# What must never be touched: of the host, Docker, CNI, another instance, another flannel.
FOREIGN = (
    "link add docker0 type bridge",
    "addr add 10.5.72.1/24 dev docker0",
    "link set docker0 up",
    "link add cni0 type bridge",
    "addr add 10.5.73.1/24 dev cni0",
    f"link add flannel.7-blue {VTEP} id 7",
    "link set flannel.7-blue up",
    "addr add 10.7.1.0/32 dev flannel.7-blue",
    "neigh add 10.7.3.0 lladdr 02:00:00:00:07:03 dev flannel.7-blue nud permanent",
    "route add 10.7.3.0/24 via 10.7.3.0 dev flannel.7-blue onlink proto 102",
    f"link add flannel.2 {VTEP} id 2",
    "addr add 10.9.1.0/32 dev flannel.2",
    "link add vxlan9 type vxlan id 9 dev eth0 dstport 4789",
    "route add 203.0.113.0/24 via 192.0.2.4",
    "route add 10.5.9.0/25 via 192.0.2.4",
    "route add 10.6.0.0/16 via 192.0.2.4 proto 102",
    "neigh add 192.0.2.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
)
FOREIGN_RULES = (
    "-t nat -N FLANNEL-POSTRTG-BLUE",
    "-t nat -A POSTROUTING -j FLANNEL-POSTRTG-BLUE",
    "-t nat -A POSTROUTING -s 10.5.72.0/24 ! -o docker0 -j MASQUERADE",
    "-N DOCKER-USER",
    "-A FORWARD -j DOCKER-USER",
    "-A FORWARD -s 10.5.0.0/16 -j LOG",
)
TIMER = re.compile(r"\w+_timer\s+\S+")  # of a bridge


def flanneld(host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command on a host, to its end."""
    return subprocess.run(
        [*host.prefix, PYTHON, str(BUNDLE), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def apply(host: Host, commands: Sequence[str], rules: Sequence[str]) -> None:
    for command in commands:
        host.ip(command)
    for rule in rules:
        host.execute("iptables", *rule.split())


def names_in(directory: Path) -> List[str]:
    return sorted(path.name for path in directory.iterdir())


def kernel_state(host: Host) -> Dict[str, List[str]]:
    """Everything of the kernel's that a command could change, without what comes and goes by itself."""
    commands = {
        "links": ("ip", "-d", "-o", "link"),
        "addresses": ("ip", "-o", "addr"),
        "routes": ("ip", "route", "show", "table", "all"),
        "routes6": ("ip", "-6", "route", "show", "table", "all"),
        "neighbours": ("ip", "neigh", "show", "nud", "permanent"),
        "fdb": ("bridge", "fdb"),
        "iptables": ("iptables", "-S"),
        "nat": ("iptables", "-t", "nat", "-S"),
        "nft": ("nft", "list", "tables"),
    }
    return {
        name: sorted(" ".join(TIMER.sub("", line).split()) for line in host.execute(*command).splitlines())
        for name, command in commands.items()
    }


@pytest.fixture
def host(cluster: Cluster) -> Host:
    """A host without an agent, with things of others on it."""
    host = cluster.add_node(1).host
    host.execute("iptables", "-t", "nat", "-S")  # the tables exist from the first look on
    apply(host, FOREIGN, FOREIGN_RULES)
    return host


def leave_ours(host: Host) -> None:
    apply(host, OURS, OUR_RULES)
    host.execute(
        "bridge",
        "fdb",
        "add",
        "02:00:00:00:05:03",
        "dst",
        "192.0.2.3",
        "dev",
        "flannel.1",
        "self",
        "permanent",
    )
    host.execute(
        "nft", "add table ip flannel-ipv4; add table ip6 flannel-ipv6; add table ip flannel-ipv4-blue"
    )
    host.execute("nft", "add chain ip flannel-ipv4 forward { type filter hook forward priority 0; }")
    host.subnet_file.parent.mkdir(exist_ok=True)
    host.subnet_file.write_text(SUBNET_ENV)
    state = host.lib_dir / "flanneld"
    state.mkdir(exist_ok=True)
    (state / "flannel.1.mac").write_text("02:00:00:00:05:01\n")


def test_cleanup_removes_what_is_ours_and_nothing_else(host: Host) -> None:
    host.execute("nft", "add table ip flannel-ipv4-blue")
    before = kernel_state(host)
    leave_ours(host)
    (host.run_dir / "flannel" / "docker").write_text("DOCKER_OPT_MTU=1\n")
    (host.lib_dir / "flanneld" / "notes").write_text("by hand\n")
    done = flanneld(host, "cleanup")
    assert done.returncode == 0, done.stderr
    assert kernel_state(host) == before
    assert not host.subnet_file.exists()
    # what is not ours stays, and so do the directories it is in
    assert names_in(host.run_dir / "flannel") == ["docker"]
    assert names_in(host.lib_dir / "flanneld") == ["notes"]
    for part in (
        "link flannel.1",
        "route 10.5.3.0/24",
        "route 10.5.6.0/24",
        "FLANNEL-POSTRTG",
        "subnet.env",
        ".mac",
    ):
        assert part in done.stdout
    again = flanneld(host, "cleanup")
    assert again.returncode == 0
    assert again.stdout.startswith("nothing of ours is on this host\n")


def test_a_dry_run_lists_the_same_and_changes_nothing(host: Host) -> None:
    leave_ours(host)
    before = kernel_state(host)
    done = flanneld(host, "cleanup", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert kernel_state(host) == before
    assert host.subnet_file.read_text() == SUBNET_ENV
    assert not (host.run_dir / "flannel" / "flanneld.lock").exists()
    listed = done.stdout.splitlines()[1:]
    really = flanneld(host, "cleanup").stdout.splitlines()[1:]
    assert [line for line in really if line not in listed] == [f"  file {host_path(host)}"]
    assert [line for line in listed if line not in really] == []


def host_path(host: Host) -> str:
    return "/var/lib/flanneld"


def test_the_state_directory_can_be_kept(host: Host) -> None:
    leave_ours(host)
    assert flanneld(host, "cleanup", "--keep-state").returncode == 0
    assert names_in(host.lib_dir / "flanneld") == ["flannel.1.mac"]
    assert "flannel.1" not in host.ip("-br link").split()


def test_without_any_file_a_device_of_ours_is_named_and_left(host: Host) -> None:
    leave_ours(host)
    host.subnet_file.unlink()
    (host.lib_dir / "flanneld" / "flannel.1.mac").unlink()
    done = flanneld(host, "cleanup")
    assert done.returncode == 0, done.stderr
    assert "flannel.1" in host.ip("-br link").split()
    assert "left flannel.1:" in done.stdout
    assert "ip link delete flannel.1" in done.stdout


def test_subnet_env_alone_is_enough(host: Host) -> None:
    before = kernel_state(host)
    leave_ours(host)
    (host.lib_dir / "flanneld" / "flannel.1.mac").unlink()
    assert flanneld(host, "cleanup").returncode == 0
    after = kernel_state(host)
    assert {**after, "nft": []} == {**before, "nft": []}


def test_another_network_of_the_host_is_cleaned_by_its_name(host: Host) -> None:
    leave_ours(host)
    ours = host.execute("ip", "route", "show", "dev", "flannel.1")
    done = flanneld(host, "cleanup", "--instance=blue")
    assert done.returncode == 0, done.stderr
    devices = host.ip("-br link")
    assert "flannel.7-blue" not in devices
    assert "flannel.1 " in devices
    assert host.execute("ip", "route", "show", "dev", "flannel.1") == ours
    assert "FLANNEL-POSTRTG-BLUE" not in host.execute("iptables", "-t", "nat", "-S")
    assert "-N FLANNEL-POSTRTG\n" in host.execute("iptables", "-t", "nat", "-S")
    assert "table ip flannel-ipv4\n" in host.execute("nft", "list", "tables")
    assert "blue" not in host.execute("nft", "list", "tables")


@pytest.fixture
def locked(host: Host) -> Iterator[Path]:
    """The lock as a running agent holds it."""
    leave_ours(host)
    path = host.run_dir / "flannel" / "flanneld.lock"
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield path


def test_cleanup_refuses_while_the_agent_runs(host: Host, locked: Path) -> None:
    before = kernel_state(host)
    done = flanneld(host, "cleanup")
    assert done.returncode == 10
    assert "systemctl status 'flanneld*'" in done.stderr
    assert kernel_state(host) == before
    assert host.subnet_file.exists()
    assert locked.exists()


def test_cleanup_refuses_beside_upstream_s_flanneld(host: Host, tmp_path: Path) -> None:
    leave_ours(host)
    upstream = tmp_path / "flanneld"
    upstream.symlink_to("/usr/bin/sleep")
    with subprocess.Popen([*host.prefix, str(upstream), "600"]) as process:
        try:
            host.execute("sh", "-c", f"until grep -qx flanneld /proc/{process.pid}/comm; do sleep 0.1; done")
            done = flanneld(host, "cleanup")
        finally:
            process.send_signal(signal.SIGKILL)
    assert done.returncode == 10
    assert f"process {process.pid}" in done.stderr
    assert "flannel.1" in host.ip("-br link").split()


def test_cleanup_called_by_the_name_flanneld_does_not_take_itself_for_upstream_s(
    host: Host, tmp_path: Path
) -> None:
    """As on a host, where a link in the path leads to the archive, and its first line to Python."""
    leave_ours(host)
    program = tmp_path / "flanneld"
    shutil.copy(BUNDLE, program)
    program.chmod(0o755)
    host.execute(str(program), "cleanup")
    assert "flannel.1" not in host.ip("-br link").split()


# --- with an agent


@pytest.fixture
def nodes(cluster: Cluster) -> Tuple[Node, ...]:
    """Two hosts that serve, each with a container."""
    cluster.configure("vxlan")
    nodes = cluster.join(1, 2)
    for node in nodes:
        assert node.container
    return nodes


def settled_status(node: Node) -> str:
    """What status says once the agent is ready."""
    wait_until(lambda: flanneld(node.host, "status").returncode == 0, "flanneld status says ready", 30)
    return flanneld(node.host, "status").stdout


def test_status_of_a_host_that_serves_and_of_one_that_does_not(nodes: Tuple[Node, ...]) -> None:
    one, two = nodes
    text = settled_status(one)
    assert text.startswith("ready: flanneld ")
    assert str(one.host.subnet) in text
    assert "peers       1 well" in text
    assert str(two.host.address) in flanneld(one.host, "status", "--peers").stdout
    document = json.loads(flanneld(one.host, "status", "--json").stdout)
    assert document["ready"] is True
    assert document["pid"] == one.agent.pid
    one.agent.stop()
    done = flanneld(one.host, "status")
    assert done.returncode == 3
    assert done.stdout.startswith("NOT RUNNING")
    assert one.lease_key.rpartition("/")[2] in done.stdout
    assert "flannel.1 (up, MTU 1450" in done.stdout


@pytest.mark.parametrize(
    ("backend", "families", "flags"),
    [
        ("vxlan", {}, ("--ip-masq",)),
        ("vxlan", {"ipv6": True}, ("--firewall=nftables", "--ip-masq")),
        ("vxlan", {"ipv4": False, "ipv6": True}, ()),
        ("host-gw", {"ipv6": True}, ()),
        ("vxlan", {}, ("--instance=blue",)),
    ],
    ids=["vxlan", "dual-nftables", "ipv6", "host-gw", "instance"],
)
def test_check_finds_nothing_on_a_host_that_is_well(
    cluster: Cluster, backend: str, families: Dict[str, bool], flags: Tuple[str, ...]
) -> None:
    cluster.configure(backend, **families)
    nodes = [cluster.add_node(number, *flags) for number in (1, 2)]
    for node in nodes:
        node.agent.start()
    instance = [flag for flag in flags if flag.startswith("--instance")]
    what = "status says ready and knows the peer"
    wait_until(lambda: "peers       1 well" in flanneld(nodes[0].host, "status", *instance).stdout, what, 30)
    done = check(cluster, nodes[0], *instance)
    # in these namespaces there is no systemd; the module is the kernel's own affair
    expected = {"the service comes back after a boot", "br_netfilter"}
    assert {name for name in done if not done[name].startswith("ok")} <= expected, done


def check(cluster: Cluster, node: Node, *flags: str) -> Dict[str, str]:
    """What check says, by the name of the check: "ok", or level and cause."""
    told = flanneld(node.host, "check", f"--etcd-endpoints={cluster.etcd.endpoint}", *flags)
    assert not told.stderr, told.stderr
    lines = [line for line in told.stdout.splitlines() if re.match(r"(ok|warn|FAIL|-) ", line)]
    rows = [(line[6:].partition(": ")[0], line[:6].strip() + " " + line.partition(": ")[2]) for line in lines]
    found = {name: text.strip() for name, text in reversed(rows)}
    assert told.returncode == (1 if any(text.startswith("FAIL") for text in found.values()) else 0)
    return found


def test_check_finds_what_is_broken_on_a_real_host(cluster: Cluster, nodes: Tuple[Node, ...]) -> None:
    one, two = nodes
    settled_status(one)
    one.agent.kill()  # else it repairs what is broken here
    one.host.sysctl("net.ipv4.ip_forward", 0)
    one.host.ip("link set docker0 mtu 1500")
    one.host.execute("iptables", "-P", "INPUT", "DROP")
    one.host.execute("iptables", "-P", "FORWARD", "DROP")
    one.host.execute("iptables", "-F", "FORWARD")
    one.host.ip("link set flannel.1 address 02:00:00:00:99:99")
    mac = two.vtep_mac
    one.host.execute(*f"bridge fdb replace {mac} dst 192.0.2.77 dev flannel.1 self permanent".split())
    one.host.ip(f"route add {one.host.subnet} via 192.0.2.77 metric 5")
    cluster.put("subnets/10.5.250.0-24", json.dumps({"PublicIP": str(two.host.address)}))
    cluster.put("subnets/nonsense", "{}")
    one.host.execute("iptables", "-A", "INPUT", "-s", str(SWITCH_ADDRESS), "-j", "ACCEPT")
    found = check(cluster, one)
    assert found["the agent runs and is ready"].startswith("FAIL the agent is not running")
    assert found["the kernel forwards"].startswith("FAIL net.ipv4.ip_forward is 0")
    assert "docker0 has MTU 1500" in found["bridges of Docker and CNI fit it"]
    assert found["what other hosts send is let in"].startswith("warn iptables INPUT")
    assert found["no other rule drops what containers send"].startswith("FAIL")
    assert "02:00:00:00:99:99" in found["the device is ours and has our MAC"]
    assert "to 192.0.2.77" in found["FDB entries are those of the leases"]
    assert "192.0.2.77" in found["our own subnet stays here"]
    assert str(two.host.address) in found["a public IP belongs to one host"]
    assert "nonsense" in found["keys below subnets/ are leases"]


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_check_finds_a_path_that_is_narrower_than_its_ends(cluster: Cluster, backend: str) -> None:
    cluster.configure(backend)
    nodes = cluster.join(1, 2)
    settled_status(nodes[0])
    cluster.switch.ip(f"link set {nodes[1].host.name} mtu 1400")
    found = check(cluster, nodes[0])["the way to the others carries full packets"]
    assert found.startswith(f"FAIL {nodes[1].host.address} of ")
    assert "none of 1500 bytes" in found


def test_check_without_etcd_or_config_says_where_to_look(cluster: Cluster) -> None:
    node = cluster.add_node(1)
    found = check(cluster, node)
    assert "/coreos.com/network/config does not exist" in found["network config"]
    cluster.etcd.put("/atomic.io/network/config", "{}")
    assert "but /atomic.io/network has a config" in check(cluster, node)["network config"]
    cluster.etcd.stop()
    found = check(cluster, node)
    assert found["etcd answers and lets us in"].startswith("FAIL")
    assert found["network config"] == "- cannot be told without etcd"


def test_dump_of_a_host_holds_what_it_is_for(cluster: Cluster, nodes: Tuple[Node, ...]) -> None:
    one, two = nodes
    settled_status(one)
    secret = "Tr0ub4dor3planted"
    cluster.put("subnets/10.5.250.0-24", json.dumps({"PublicIP": "192.0.2.9", "PSK": secret}))
    one.host.subnet_file.with_name("psk").write_text(secret)
    flags = (f"--etcd-endpoints={cluster.etcd.endpoint}", "--etcd-prefix=/coreos.com/network")
    done = flanneld(one.host, "dump", "/run/dump.tar.gz", *flags)
    assert done.returncode == 0, done.stderr
    with tarfile.open(one.host.run_dir / "dump.tar.gz") as archive:
        parts = {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive
        }
    assert json.loads(parts["status.json"])["pid"] == one.agent.pid
    store = json.loads(parts["store.json"])
    assert json.loads(store["config"]["value"])["Network"] == "10.5.0.0/16"
    ttl = {item["key"]: item["ttl"] for item in store["subnets"]}
    assert 0 < ttl[one.lease_key] <= 86400
    assert ttl["/coreos.com/network/subnets/10.5.250.0-24"] is None
    assert len(store["nodes"]) == 2
    assert any(link["ifname"] == "flannel.1" for link in json.loads(parts["kernel/links.json"]))
    assert two.vtep_mac in parts["kernel/fdb.json"]
    assert "FLANNEL-FWD" in parts["firewall/iptables.txt"]
    assert parts["subnet.env"] == one.host.subnet_file.read_text()
    assert any(name.startswith("state/") for name in parts)
    assert "journal.txt: " in parts["missing.txt"] or "journal.txt" in parts
    assert not any(secret in text for text in parts.values())


@pytest.mark.parametrize(
    ("backend", "families", "flags"),
    [
        ("vxlan", {}, ("--ip-masq", "--ip-blackhole-route")),
        ("vxlan", {"ipv6": True}, ("--ip-masq", "--firewall=nftables")),
        ("vxlan", {"ipv4": False, "ipv6": True}, ("--ip-masq",)),
        ("host-gw", {"ipv6": True}, ("--ip-masq", "--ip-blackhole-route")),
        ("vxlan", {}, ("--instance=blue", "--ip-masq")),
    ],
    ids=["vxlan", "dual-nftables", "ipv6", "host-gw", "instance"],
)
def test_cleanup_after_a_real_agent_leaves_the_host_as_it_was(
    cluster: Cluster, backend: str, families: Dict[str, bool], flags: Tuple[str, ...]
) -> None:
    cluster.configure(backend, **families)
    cluster.join(2)
    node = cluster.add_node(1, *flags)
    host = node.host
    instance = [flag for flag in flags if flag.startswith("--instance")]
    for table in ("nat", "filter"):  # the first rule makes iptables' own tables, which stay
        for family in ("iptables", "ip6tables"):
            host.execute(family, "-t", table, "-A", "INPUT", "-i", "nowhere", "-j", "ACCEPT")
    host.execute("iptables", "-P", "FORWARD", "DROP")  # as Docker does: nftables alone does not help then
    before = kernel_state(host)
    node.agent.start()
    wait_until(lambda: node.agent.ready, "READY=1", 30)
    routes = "routes" if families.get("ipv4", True) else "routes6"
    wait_until(lambda: len(ours(kernel_state(host)[routes])) > 0, "a route to the peer")
    assert flanneld(host, "cleanup", *instance).returncode == 10
    node.agent.stop()
    assert kernel_state(host) != before
    done = flanneld(host, "cleanup", *instance)
    assert done.returncode == 0, done.stderr
    assert kernel_state(host) == before
    assert not [path for path in host.run_dir.glob("flannel*") if path.is_dir()]
    assert not [path for path in host.lib_dir.glob("flanneld*") if path.is_dir()]
    assert flanneld(host, "cleanup", *instance).stdout == "nothing of ours is on this host\n"


def ours(routes: List[str]) -> List[str]:
    return [route for route in routes if re.search(r"\bproto (102|flannel)\b", route) and " via " in route]
