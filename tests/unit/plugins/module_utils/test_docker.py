# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker's bridge is and should be, and which settings of the operator's stand in the way."""

from __future__ import annotations

import json

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._docker import (
    Bridge,
    DockerError,
    choose_own_bridge,
    find_in_daemon_json,
    find_in_lines,
    has_options_of_flannel,
    is_wired,
    parse_properties,
    plan_restart,
    plan_return,
    running_bridge,
    wanted_bridge,
)

SUBNET_ENV = (
    "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.26.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
)
WANTED = Bridge("10.42.26.1/24", 1450, False)
DEFAULT = Bridge("172.17.0.1/16", 1500, True)
# Docker 20.10.24, GET /networks/bridge
NETWORK = {
    "IPAM": {"Config": [{"Subnet": "10.42.26.0/24", "Gateway": "10.42.26.1"}]},
    "Options": {
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
        "com.docker.network.driver.mtu": "1450",
    },
}
LINKS = json.dumps(
    [
        {
            "ifname": "docker0",
            "mtu": 1500,
            "addr_info": [
                {"family": "inet6", "local": "fe80::1", "prefixlen": 64},
                {"family": "inet", "local": "10.42.26.1", "prefixlen": 24},
            ],
        }
    ]
)


def test_subnet_env_says_what_is_wanted() -> None:
    assert wanted_bridge("subnet.env", SUBNET_ENV) == WANTED
    assert wanted_bridge("subnet.env", SUBNET_ENV.replace("true", "false")).ip_masq is True


@pytest.mark.parametrize("text", ["FLANNEL_MTU=1450\n", SUBNET_ENV.replace("1450", "large")])
def test_broken_subnet_env_is_refused(text: str) -> None:
    with pytest.raises(DockerError, match="it is not a subnet"):
        wanted_bridge("subnet.env", text)


def test_mtu_is_what_containers_get_and_not_the_devices() -> None:
    assert running_bridge(NETWORK, LINKS) == WANTED


def test_docker_without_options_has_its_defaults() -> None:
    assert running_bridge({"Options": None}, "") == Bridge("none", 1500, True)


def test_differences_name_both_sides() -> None:
    assert DEFAULT.differences(WANTED) == (
        "address 172.17.0.1/16 -> 10.42.26.1/24",
        "mtu 1500 -> 1450",
        "ip_masq True -> False",
    )
    assert WANTED.differences(WANTED) == ()


@pytest.mark.parametrize("option", ["bip", "mtu", "ip-masq", "bridge"])
def test_key_of_daemon_json_is_found_with_its_line(option: str) -> None:
    text = json.dumps({"live-restore": True, option: "x", "data-root": "/srv"}, indent=2)
    (conflict,) = find_in_daemon_json("/etc/docker/daemon.json", text)
    assert str(conflict) == f"""/etc/docker/daemon.json:3: remove '{option}' from: "{option}": "x","""


def test_daemon_json_on_one_line() -> None:
    (conflict,) = find_in_daemon_json("daemon.json", '{"a": 1, "mtu": 1400}')
    assert (conflict.line, conflict.option) == (1, "mtu")


@pytest.mark.parametrize("text", ["", "\n", "{}", '{"default-network-opts": {"bridge": {"mtu": "1400"}}}'])
def test_other_keys_of_daemon_json_are_the_operators(text: str) -> None:
    assert find_in_daemon_json("daemon.json", text) == ()


def test_daemon_json_that_is_not_json() -> None:
    with pytest.raises(DockerError, match="not JSON"):
        find_in_daemon_json("daemon.json", "{bip: 1}")


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ('DOCKER_OPTS="--bip=10.0.0.1/24"', "bip"),
        ("DOCKER_OPTS=-mtu 1400", "mtu"),
        ("ExecStart=/usr/bin/dockerd -H fd:// --ip-masq=false $DOCKER_OPTS", "ip-masq"),
        ("ExecStart=/usr/bin/dockerd -b br0", "bridge"),
        ("ExecStart=/usr/bin/dockerd --bridge=none", "bridge"),
    ],
)
def test_flag_is_found_with_its_line(line: str, option: str) -> None:
    (conflict,) = find_in_lines("file", f"# --bip in a comment\n{line}\n")
    assert (conflict.line, conflict.text, conflict.option) == (2, line, option)


@pytest.mark.parametrize(
    "line",
    [
        "ExecStart=/usr/bin/dockerd --bip6=x --mtu-discovery --no-bridge",
        "DOCKER_OPTS=--log-level=warn",
        "; --mtu=1",
    ],
)
def test_other_flags_are_the_operators(line: str) -> None:
    assert find_in_lines("file", line) == ()


def test_properties_that_come_several_times_are_joined() -> None:
    text = (
        "LoadState=loaded\nEnvironmentFiles=/a (ignore_errors=yes)\nEnvironmentFiles=/b (ignore_errors=no)\n"
    )
    assert parse_properties(text) == {
        "LoadState": "loaded",
        "EnvironmentFiles": "/a (ignore_errors=yes) /b (ignore_errors=no)",
    }


def test_wired_is_a_command_with_all_three_options() -> None:
    command = "{{ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd {} ; ignore_errors=no ; pid=0 }}"
    assert is_wired(command.format("-H fd:// $DOCKER_OPT_BIP $DOCKER_OPT_IPMASQ $DOCKER_OPT_MTU"))
    assert not is_wired(command.format("-H fd:// $DOCKER_OPT_BIP $DOCKER_OPT_MTU"))
    assert not is_wired("")


@pytest.mark.parametrize(
    ("running", "wanted", "containers", "consent", "restart", "pending"),
    [
        (WANTED, WANTED, ("c1",), True, False, ""),
        (DEFAULT, WANTED, (), False, True, ""),
        (DEFAULT, WANTED, ("c1",), True, True, ""),
        (DEFAULT, WANTED, ("c1", "c2"), False, False, "stops 2 running container(s): c1, c2"),
        (None, WANTED, (), False, False, ""),
        (DEFAULT, None, (), False, False, ""),
    ],
)
def test_restart_needs_a_difference_and_consent(
    running: Bridge | None,
    wanted: Bridge | None,
    containers: tuple[str, ...],
    consent: bool,
    restart: bool,
    pending: str,
) -> None:
    now, told = plan_restart(running, wanted, containers, consent)
    assert now is restart
    assert pending in told
    assert bool(told) is bool(pending)
    assert not pending or "flannel_docker_restart: true" in told


def test_a_command_with_options_of_flannel() -> None:
    ours = ["/usr/sbin/dockerd", "-H", "fd://", "--bip=10.42.1.1/24", "--ip-masq=false", "--mtu=1450"]
    assert has_options_of_flannel(ours)
    assert not has_options_of_flannel(ours[:-1])
    assert not has_options_of_flannel([""])


def test_its_own_bridge_comes_back_as_soon_as_nobody_is_in_the_way() -> None:
    assert plan_return(False, ("web",), consent=True) == (False, "")
    assert plan_return(True, (), consent=False) == (True, "")
    assert plan_return(True, ("web",), consent=True) == (True, "")
    restart, pending = plan_return(True, ("web",), consent=False)
    assert not restart
    assert "1 running container(s): web" in pending
    assert "flannel_docker_restart: true" in pending


@pytest.mark.parametrize(
    ("text", "taken", "address"),
    [
        ("", [], "172.17.0.1/16"),
        ('{"debug": true}', ["172.17.4.0/24", "192.0.2.7"], "172.18.0.1/16"),
        ('{"default-address-pools": [{"base": "10.9.0.0/16", "size": 24}]}', ["10.9.0.0/24"], "10.9.1.1/24"),
    ],
)
def test_the_address_of_dockers_own_bridge(text: str, taken: list[str], address: str) -> None:
    assert choose_own_bridge("daemon.json", text, taken) == address


@pytest.mark.parametrize(
    ("text", "taken"),
    [("[]", []), ("{", []), ('{"default-address-pools": [{}]}', []), ("", ["0.0.0.0/1", "128.0.0.0/1"])],
)
def test_no_own_bridge_is_told(text: str, taken: list[str]) -> None:
    with pytest.raises(DockerError, match=r"daemon\.json"):
        choose_own_bridge("daemon.json", text, taken)
