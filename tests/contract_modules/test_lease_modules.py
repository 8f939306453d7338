# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_reservation, flannel_lease and their info siblings, on a real etcd.

What they decide is tested in tests/unit/plugins/modules/test_reservation_plan.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import pytest

from tests.contract_modules.conftest import AnsibleHost, Host, Outcome
from tests.support.etcd import EtcdServer, find_free_port

PREFIX = "/coreos.com/network"
KEY = f"{PREFIX}/subnets/10.5.34.0-24"
NODE_ID = f"{1:032x}"
VALUE = '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}'
NODE = '{"Host":"node1","BootID":"b","PublicIP":"192.0.2.1","PublicIPv6":null,"Subnet":"10.5.34.0-24","Version":"1"}'
PINNED: Dict[str, Any] = {"subnet": "10.5.34.0/24", "public_ip": "192.0.2.1"}


@pytest.fixture
def network(etcd: EtcdServer) -> EtcdServer:
    """A network config and nothing else."""
    etcd.put(f"{PREFIX}/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}')
    return etcd


def join(etcd: EtcdServer) -> None:
    """As flanneld of node1 does it."""
    lease_id = etcd.ctl("lease", "grant", "86400").split()[1]
    etcd.ctl("put", f"--lease={lease_id}", KEY, VALUE)
    etcd.put(f"{PREFIX}/nodes/{NODE_ID}", NODE)


def run(host: Host, etcd: EtcdServer, module: str, options: Dict[str, Any], *flags: str) -> Outcome:
    return host.run(module, {"endpoints": etcd.endpoint, **options}, "--diff", *flags)


def show(etcd: EtcdServer) -> Dict[str, Any]:
    """The key as etcd holds it: its value, whether it hangs on an etcd lease, and when it was written."""
    (item,) = json.loads(etcd.ctl("get", KEY, "--write-out=json"))["kvs"]
    return {**item, "value": etcd.ctl("get", KEY, "--print-value-only").strip(), "leased": "lease" in item}


def test_a_reservation_in_check_mode_and_twice(by_ansible: AnsibleHost, network: EtcdServer) -> None:
    predicted = run(by_ansible, network, "flannel_reservation", PINNED, "--check")
    assert network.ctl("get", KEY) == ""
    made = run(by_ansible, network, "flannel_reservation", PINNED)
    assert predicted.changed
    assert made.changed
    assert made.result["diff"] == predicted.result["diff"]
    assert json.loads(made.after) == {
        "reservation": True,
        "value": {"PublicIP": "192.0.2.1", "PublicIPv6": None},
    }
    assert made.result["lease"] == predicted.result["lease"]
    assert made.result["lease"]["key"] == KEY
    item = show(network)
    assert (item["value"], item["leased"]) == ('{"PublicIP":"192.0.2.1","PublicIPv6":null}', False)

    again = run(by_ansible, network, "flannel_reservation", PINNED)
    assert not again.changed
    assert again.before == again.after
    assert show(network) == item


def test_a_live_lease_is_adopted_by_node_id_and_given_back(host: Host, network: EtcdServer) -> None:
    join(network)
    by_id = {"node_id": NODE_ID}
    adopted = run(host, network, "flannel_reservation", by_id)
    assert adopted.changed
    assert (show(network)["value"], show(network)["leased"]) == (VALUE, False)
    lease = adopted.result["lease"]
    assert (lease["host"], lease["held"], lease["reservation"]) == ("node1", True, True)

    ended = run(host, network, "flannel_reservation", {**by_id, "state": "absent"})
    assert ended.changed
    assert (show(network)["value"], show(network)["leased"]) == (VALUE, True)
    assert not run(host, network, "flannel_reservation", {**by_id, "state": "absent"}).changed


def test_a_conflict_names_the_holder(host: Host, network: EtcdServer) -> None:
    join(network)
    before = show(network)
    outcome = run(host, network, "flannel_reservation", {**PINNED, "public_ip": "192.0.2.2"})
    assert (outcome.failed, outcome.result["error"]) == (True, "SubnetTaken")
    for part in (KEY, '"node1"', "192.0.2.1", NODE_ID, "seconds left", "choose another subnet"):
        assert part in outcome.result["msg"]
    assert show(network) == before


def test_a_lease_converted_and_revoked(host: Host, network: EtcdServer) -> None:
    join(network)
    granted = show(network)
    by_address = {"public_ip": "192.0.2.1"}
    predicted = run(host, network, "flannel_lease", {**by_address, "state": "reserved"}, "--check")
    assert show(network) == granted
    reserved = run(host, network, "flannel_lease", {**by_address, "state": "reserved"})
    assert (reserved.changed, reserved.result["diff"]) == (True, predicted.result["diff"])
    assert not show(network)["leased"]
    assert not run(host, network, "flannel_lease", {**by_address, "state": "reserved"}).changed

    leased = run(host, network, "flannel_lease", {**by_address, "state": "leased", "ttl": 3600})
    assert leased.changed
    assert show(network)["create_revision"] == granted["create_revision"]
    info = run(host, network, "flannel_lease_info", {}).result
    assert 3000 < info["leases"][0]["seconds_left"] <= 3600

    refused = run(host, network, "flannel_lease", {**by_address, "state": "absent"}, "--check")
    assert (refused.failed, refused.result["error"]) == (True, "DisruptionRefused")
    assert '"node1"' in refused.result["msg"]
    assert "allow_disruptive" in refused.result["next_step"]
    gone = {**by_address, "state": "absent", "allow_disruptive": True}
    revoked = run(host, network, "flannel_lease", gone)
    assert (revoked.changed, revoked.result["lease"], revoked.after) == (True, None, "")
    assert "takes 10.5.34.0-24 again" in revoked.output
    assert network.ctl("get", KEY) == ""
    assert not run(host, network, "flannel_lease", gone).changed


def test_info(host: Host, network: EtcdServer) -> None:
    join(network)
    network.put(f"{PREFIX}/subnets/10.6.1.0-24", '{"PublicIP":"192.0.2.9"}')
    network.put(f"{PREFIX}/subnets/junk", VALUE)
    network.put(f"{PREFIX}/nodes/junk", "no JSON")
    result = run(host, network, "flannel_lease_info", {"next_free": 2}, "--check").result
    held, waiting = result["leases"]
    assert 86000 < held.pop("seconds_left") <= 86400
    assert held == {
        "key": KEY, "subnet": "10.5.34.0/24", "ipv6_subnet": None, "public_ip": "192.0.2.1", "public_ipv6": None,
        "backend_type": "vxlan", "backend_data": {"VNI": 1}, "backend_v6_data": None, "reservation": False,
        "taken": True, "held": True, "host": "node1", "node_id": NODE_ID,
    }  # fmt: skip
    assert (waiting["taken"], waiting["host"], waiting["seconds_left"]) == (False, None, None)
    assert [node["host"] for node in result["nodes"]] == ["node1"]
    assert result["nodes"][0]["lease"] == KEY
    assert result["bad_leases"][0]["key"] == f"{PREFIX}/subnets/junk"
    assert result["bad_nodes"][0]["key"] == f"{PREFIX}/nodes/junk"
    assert result["subnets"] == {
        "ipv4": {"total": 255, "used": 1, "free": 254, "next_free": ["10.5.1.0/24", "10.5.2.0/24"]},
        "ipv6": None,
    }
    pinned = run(host, network, "flannel_reservation_info", {}).result
    (only,) = pinned["reservations"]
    assert (only["subnet"], only["misfit"]) == ("10.6.1.0/24", "it does not lie in Network 10.5.0.0/16")
    assert pinned["changed"] is False


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (
            "flannel_reservation",
            {**PINNED, "subnet": "10.6.34.0/24"},
            "subnet: 10.6.34.0/24: it does not lie in",
        ),
        ("flannel_reservation", {"subnet": "10.5.34.0/24"}, "any of the following are missing: public_ip"),
        ("flannel_lease", {"state": "reserved", "public_ip": "192.0.2.9"}, "192.0.2.9: there is none"),
    ],
)
def test_bad_input(
    host: Host, network: EtcdServer, module: str, options: Dict[str, Any], message: str
) -> None:
    outcome = run(host, network, module, options)
    assert outcome.failed
    assert message in outcome.result["msg"]
    assert outcome.result.get("next_step", outcome.result["msg"])
    assert network.ctl("get", f"{PREFIX}/subnets/", "--prefix") == ""


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("flannel_reservation", PINNED),
        ("flannel_lease_info", {}),
    ],
)
def test_nobody_listens(host: Host, module: str, options: Dict[str, Any]) -> None:
    port = find_free_port("127.0.0.1")
    outcome = host.run(module, {"host": "127.0.0.1", "port": port, **options}, "--check")
    assert (outcome.failed, outcome.result["error"]) == (True, "StoreUnavailable")
    assert f"127.0.0.1:{port}" in outcome.result["msg"]
    assert "check that etcd runs there" in outcome.result["next_step"]


def test_check_mode_before_anything_exists(by_ansible: AnsibleHost, etcd: EtcdServer, tmp_path: Path) -> None:
    """No network config yet, or no library yet: a play that would bring both completes."""
    predicted = run(by_ansible, etcd, "flannel_reservation", PINNED, "--check")
    assert predicted.changed
    assert "the reservation is shown unchecked" in predicted.output
    (tmp_path / "etcd3.py").write_text("raise ImportError('not installed')\n")
    blank = Host(tmp_path, environment={"PYTHONPATH": str(tmp_path)})
    assert (
        run(blank, etcd, "flannel_reservation", PINNED, "--check").result["diff"] == predicted.result["diff"]
    )
    assert run(by_ansible, etcd, "flannel_reservation", PINNED).result["error"] == "ConfigError"
