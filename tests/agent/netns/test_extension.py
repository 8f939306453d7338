# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend extension (spec 5.8): commands from etcd make the data path, where the host allows it."""

from __future__ import annotations

import json
from typing import Dict, List

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.cluster import Cluster
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_no_ping, assert_ping, datagram_fits
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
ALLOWED = ("--allow-extension-commands",)
KERNEL_OR_BACKEND = 7  # exit code
ROUTES = {
    "PreStartupCommand": "hostname",
    "SubnetAddCommand": "ip route replace ${SUBNET} via $PUBLIC_IP",
    "SubnetRemoveCommand": "ip route del $SUBNET via $PUBLIC_IP",
}
SCRIPT = (
    '#!/bin/sh\n{ echo "$1 $NETWORK $SUBNET $IPV6SUBNET $PUBLIC_IP $PUBLIC_IPV6 $(cat)"; } >> /run/hooks\n'
)


def hooks(node: Node) -> List[str]:
    """What the script of write_script has noted."""
    path = node.host.run_dir / "hooks"
    return path.read_text().splitlines() if path.exists() else []


def write_script(node: Node, text: str = SCRIPT) -> None:
    path = node.host.run_dir / "hook"
    path.write_text(text)
    path.chmod(0o755)


def record(node: Node) -> Dict[str, bool]:
    """Peers in the record on disk, and whether their command has ended."""
    path = node.host.lib_dir / "flanneld" / "extension.json"
    return (
        {row["name"]: row["done"] for row in json.loads(path.read_text())["hooks"]} if path.exists() else {}
    )


def short(node: Node) -> str:
    return node.lease_key.rpartition("/")[2]


def test_a_host_that_does_not_allow_it_runs_nothing(cluster: Cluster) -> None:
    cluster.configure("extension", PreStartupCommand="touch /run/must-not-be")
    one = cluster.add_node(1)
    before = one.foreign_state()
    one.agent.start()
    assert one.agent.wait() == KERNEL_OR_BACKEND
    (complaint,) = one.agent.complaints()
    assert "--allow-extension-commands" in complaint
    assert not (one.host.run_dir / "must-not-be").exists()
    assert cluster.leases() == {}
    assert one.foreign_state() == before


def test_commands_make_a_network(cluster: Cluster) -> None:
    cluster.configure("extension", **ROUTES)
    one, two = cluster.join(1, 2, flags=(*ALLOWED, "--ip-masq"))
    assert_ping(one.container, two.container)
    assert_ping(two.container, one.container)
    assert datagram_fits(one.container, two.container, 1500)
    assert not datagram_fits(one.container, two.container, 1501)
    assert cluster.leases()[one.lease_key] == (
        f'{{"PublicIP":"{one.host.address}","PublicIPv6":null,"BackendType":"extension","BackendData":"h1"}}'
    )
    device_routes = one.routes()
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        there.wait_sent(100)
        one.agent.kill()
        one.agent.start()
        one.agent.wait_ready()
        one.agent.wait_log("watching for new subnet leases")
        (three,) = cluster.join(3, flags=ALLOWED)
        assert_ping(one.container, three.container)
        three.agent.stop()
        cluster.etcd.delete(three.lease_key)
        wait_until(lambda: not one.routes_to(three.host.subnet), "SubnetRemoveCommand was run")
        assert_no_ping(one.container, three.container)
        there.wait_sent(100)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert one.routes() == device_routes
    wait_until(lambda: record(one) == {short(two): True}, "the record is what is there")


def test_what_commands_are_told(cluster: Cluster) -> None:
    cluster.configure(
        "extension",
        ipv6=True,
        PreStartupCommand="/run/hook pre",
        PostStartupCommand="/run/hook post",
        SubnetAddCommand="/run/hook add",
        SubnetRemoveCommand="/run/hook remove",
    )
    one = cluster.add_node(1, *ALLOWED)
    write_script(one)
    one.agent.start()
    one.agent.wait_ready()
    assert hooks(one)[0].split() == ["pre"]
    host = one.host
    own = f"{host.subnet} {host.subnet6} {host.address} {host.address6}"
    assert hooks(one)[1] == f"post 10.5.0.0/16 {own} "
    value = {"PublicIP": "192.0.2.9", "BackendType": "extension", "BackendData": "the peer's <data>"}
    cluster.put_with_lease("subnets/10.5.210.0-24", json.dumps(value))
    told = " 10.5.210.0/24 ::/0 192.0.2.9 <nil> the peer's <data>"
    wait_until(lambda: hooks(one)[2:] == [f"add {told}"], "SubnetAddCommand was run")
    cluster.etcd.delete("/coreos.com/network/subnets/10.5.210.0-24")
    wait_until(lambda: hooks(one)[3:] == [f"remove {told}"], "SubnetRemoveCommand was run")


def test_a_peer_that_vanished_while_the_agent_was_down(cluster: Cluster) -> None:
    cluster.configure("extension", **ROUTES)
    one, two, three = cluster.join(1, 2, 3, flags=ALLOWED)
    for peer in (two, three):
        wait_until(lambda: one.routes_to(peer.host.subnet), "the peer is known")  # noqa: B023 - called at once
    wait_until(lambda: record(one) == {short(two): True, short(three): True}, "it is written down")
    one.agent.kill()
    three.agent.stop()
    cluster.etcd.delete(three.lease_key)
    one.agent.start()
    wait_until(lambda: not one.routes_to(three.host.subnet), "SubnetRemoveCommand was run")
    assert one.routes_to(two.host.subnet)
    wait_until(lambda: record(one) == {short(two): True}, "it is written down")


def test_a_command_that_fails_is_tried_again_and_holds_up_nobody(cluster: Cluster) -> None:
    cluster.configure(
        "extension", PostStartupCommand="/run/hook post", SubnetAddCommand="/run/hook add $SUBNET"
    )
    one = cluster.add_node(1, *ALLOWED)
    fails = '#!/bin/sh\n[ -e "/run/may-$1" ] || { echo "no $1 yet"; exit 3; }\n'
    write_script(one, fails)
    one.agent.start()
    line = one.agent.wait_log("no post yet")
    assert "PostStartupCommand of this host: failed (exit status 3): no post yet" in line
    assert not one.agent.ready, "what upstream ends for, ours waits for"
    status = one.host.execute(PYTHON, str(BUNDLE), "status", check=False)
    assert "no post yet; it is tried again" in status
    (one.host.run_dir / "may-post").touch()
    one.agent.wait_ready()
    value = json.dumps({"PublicIP": "192.0.2.9", "BackendType": "extension"})
    cluster.put_with_lease("subnets/10.5.210.0-24", value)
    one.agent.wait_log("SubnetAddCommand 10.5.210.0-24: failed (exit status 3): no add yet")
    (one.host.run_dir / "may-add").touch()
    one.agent.wait_log("SubnetAddCommand 10.5.210.0-24: done")

    write_script(one, "#!/bin/sh\nsleep 30\n")
    cluster.put_with_lease("subnets/10.5.211.0-24", value.replace("192.0.2.9", "192.0.2.8"))
    one.agent.wait_log("Subnet added: 10.5.211.0-24")
    one.host.execute("iptables", "-F", "FORWARD")
    wait_until(lambda: "-j FLANNEL-FWD" in " ".join(one.firewall()), "rules are repaired meanwhile")
    assert one.agent.stop() == 0


def test_to_another_backend_leaves_nothing_where_it_is_allowed(cluster: Cluster) -> None:
    cluster.configure("extension", **ROUTES)
    one, two = cluster.join(1, 2, flags=ALLOWED)
    assert_ping(one.container, two.container)
    cluster.put_with_lease(
        "subnets/10.5.210.0-24", '{"PublicIP":"192.0.2.9","BackendType":"extension","BackendData":"x"}'
    )
    wait_until(lambda: one.routes_to("10.5.210.0/24"), "the peer is known")
    wait_until(lambda: len(record(one)) == 2 and all(record(one).values()), "it is written down")
    cluster.configure("vxlan")
    for node in (one, two):
        assert node.agent.stop() == 0
        node.agent.start()
    for node in (one, two):
        node.agent.wait_ready()
    wait_until(lambda: not one.routes_to("10.5.210.0/24"), "SubnetRemoveCommand was run")
    # the route to the other host is one of vxlan's by now, which the command does not find
    wait_until(lambda: record(one) == {}, "nothing is left to be undone", timeout=60)
    assert_ping(one.container, two.container)


@pytest.mark.parametrize("allowed", [True, False])
def test_cleanup_undoes_what_it_may(cluster: Cluster, allowed: bool) -> None:
    cluster.configure("extension", **ROUTES)
    (one,) = cluster.join(1, flags=ALLOWED)
    value = '{"PublicIP":"192.0.2.9","BackendType":"extension","BackendData":"x"}'
    cluster.put_with_lease("subnets/10.5.210.0-24", value)
    wait_until(lambda: record(one) == {"10.5.210.0-24": True}, "it is written down")
    one.agent.stop()
    told = one.host.execute(PYTHON, str(BUNDLE), "cleanup", *(ALLOWED if allowed else ()))
    if allowed:
        assert "extension 10.5.210.0-24" in told
    else:
        assert "with --allow-extension-commands" in told
    assert bool(one.routes_to("10.5.210.0/24")) is not allowed
    assert not (one.host.lib_dir / "flanneld" / "extension.json").exists()
