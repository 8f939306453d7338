# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another flanneld: what its unit starts, and the variables that say the same (spec 3.4-3.6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Optional

import pytest
import yaml
from ansible_collections.weft.flannel.plugins.module_utils._upstream import (
    Command,
    Settings,
    UpstreamError,
    find_program,
    read_process,
    read_unit_files,
    translate,
)

ROOT = Path(__file__).resolve().parents[4]
SYSCONFIG = "/etc/sysconfig/flanneld"
# The de-facto unit of Fedora and CentOS (spec 3.4).
FEDORA = """\
[Unit]
Description=Flanneld overlay address etcd agent
After=etcd.service
[Service]
Type=notify
EnvironmentFile=/etc/sysconfig/flanneld
EnvironmentFile=-/etc/sysconfig/docker-network
ExecStart=/usr/bin/flanneld-start \\
  # of the package
  -etcd-prefix=${FLANNEL_ETCD_PREFIX} \\
  $FLANNEL_OPTIONS
ExecStartPost=/usr/libexec/flannel/mk-docker-opts.sh -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker
[Install]
WantedBy=multi-user.target
RequiredBy=docker.service
"""
ENDPOINTS = ["http://127.0.0.1:4001", "http://127.0.0.1:2379"]


def read(texts: list[str], files: Optional[Mapping[str, str]] = None) -> Command:
    return read_unit_files("flanneld.service", texts, dict(files or {}).get)


def take_over(arguments: str = "", program: str = "/opt/flanneld", **environment: str) -> Settings:
    return translate(Command(program, tuple(arguments.split()), environment))


@pytest.mark.parametrize(
    ("sysconfig", "variables"),
    [
        (
            'FLANNEL_ETCD_ENDPOINTS="http://192.0.2.1:2379,http://192.0.2.2:2379"\n'
            'FLANNEL_ETCD_PREFIX="/atomic.io/network"\nFLANNEL_OPTIONS="-iface=eth1 --ip-masq"\n',
            {
                "flannel_etcd_endpoints": ["http://192.0.2.1:2379", "http://192.0.2.2:2379"],
                "flannel_etcd_prefix": "/atomic.io/network",
                "flannel_iface": ["eth1"],
                "flannel_ip_masq": True,
            },
        ),
        # the older names, as the seed set-ups have them
        (
            'FLANNEL_ETCD="http://192.0.2.1:2379"\nFLANNEL_ETCD_KEY="/cluster.local/network"\n'
            'FLANNEL_OPTIONS="--iface=eth1"\n',
            {
                "flannel_etcd_endpoints": ["http://192.0.2.1:2379"],
                "flannel_etcd_prefix": "/cluster.local/network",
                "flannel_iface": ["eth1"],
                "flannel_ip_masq": False,
            },
        ),
    ],
)
def test_the_unit_of_fedora(sysconfig: str, variables: dict[str, Any]) -> None:
    assert translate(read([FEDORA], {SYSCONFIG: sysconfig})) == Settings(variables, (), ())


def test_a_drop_in_replaces_the_command_and_adds_variables() -> None:
    drop_in = (
        "[Service]\nExecStart=\nExecStart=@/opt/bin/flanneld flanneld --ip-masq $MORE\n"
        'Environment="MORE=--public-ip=192.0.2.1 --healthz-port 8080" FLANNELD_IFACE=eth2\nEnvironmentFile=\n'
    )
    command = read([FEDORA, drop_in], {SYSCONFIG: "FLANNELD_IFACE=eth9"})
    assert (command.program, command.environment["FLANNELD_IFACE"]) == ("/opt/bin/flanneld", "eth2")
    # the second word is the name that the process gets, and no flag
    assert command.arguments == ("--ip-masq", "--public-ip=192.0.2.1", "--healthz-port", "8080")


def test_an_environment_file_counts_more_than_environment() -> None:
    text = (
        "[Service]\nEnvironment=FLANNELD_IFACE=eth1\nEnvironmentFile=-/etc/default/flanneld\n"
        "ExecStart=/usr/bin/flanneld\n"
    )
    assert read([text], {"/etc/default/flanneld": "FLANNELD_IFACE=eth2"}).environment == {
        "FLANNELD_IFACE": "eth2"
    }
    assert read([text]).environment == {"FLANNELD_IFACE": "eth1"}


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("/bin/sh -c 'exec $(find-flannel) --ip-masq'", ["names no flanneld", "start the unit"]),
        ("/usr/bin/docker run --net=host quay.io/coreos/flannel:v0.10.0", ["names no flanneld"]),
        ("/usr/bin/flanneld --public-ip=%H", ["--public-ip has a specifier", "write the value out"]),
    ],
)
def test_a_command_that_cannot_be_read_is_refused(line: str, parts: list[str]) -> None:
    with pytest.raises(UpstreamError) as caught:
        read([f"[Service]\nExecStart={line}\n"])
    assert all(part in str(caught.value) for part in ("unit flanneld.service", *parts))


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (["/usr/bin/flanneld", "--ip-masq"], 0),
        (["/bin/sh", "/usr/bin/flanneld-start"], 1),
        (["/opt/flanneld-amd64"], 0),
        (["/usr/bin/python3", "-I", "/usr/lib/flanneld/flanneld.pyz"], None),
        (["/bin/sh", "/usr/lib/flanneld/flanneld", "--iface=eth0"], None),
        (["/usr/lib/flanneld/docker-options"], None),
        (["/usr/sbin/sshd"], None),
    ],
)
def test_which_program_is_another_flanneld(words: list[str], number: Optional[int]) -> None:
    assert find_program(words) == number
    command = read_process(words, {})
    assert (command is None) == (number is None)


def test_every_flag_that_counts_becomes_a_variable() -> None:
    settings = take_over(
        "--etcd-endpoints https://192.0.2.1:2379 -etcd-cafile=/ca --etcd-certfile=/crt --etcd-keyfile=/key "
        "--etcd-username=flannel --iface=eth1 --iface=eth2 --iface-regex=^10 --iface-can-reach=192.0.2.9 "
        "--public-ip=192.0.2.5 --public-ipv6=2001:db8::5 --subnet-lease-renew-margin=30 --ip-masq=true "
        "--iptables-forward-rules=false --ip-blackhole-route --iptables-resync=9 --v=4 --healthz-port=8080 "
        "--ip-masq-fully-random-disable --subnet-file=/run/flannel/subnet.env"
    )
    assert settings.variables == {
        "flannel_etcd_endpoints": ["https://192.0.2.1:2379"],
        "flannel_etcd_cafile": "/ca",
        "flannel_etcd_certfile": "/crt",
        "flannel_etcd_keyfile": "/key",
        "flannel_etcd_username": "flannel",
        "flannel_iface": ["eth1", "eth2"],
        "flannel_iface_regex": ["^10"],
        "flannel_iface_can_reach": "192.0.2.9",
        "flannel_public_ip": "192.0.2.5",
        "flannel_public_ipv6": "2001:db8::5",
        "flannel_lease_renew_margin": 30,
        "flannel_ip_masq": True,
        "flannel_iptables_forward_rules": False,
        "flannel_blackhole_route": True,
        # upstream serves on all addresses where it serves
        "flannel_healthz_port": 8080,
        "flannel_healthz_ip": "0.0.0.0",
        "flannel_extra_args": ["--iptables-resync=9", "--v=4", "--ip-masq-fully-random-disable"],
    }
    assert (settings.problems, settings.notes) == ((), ())
    defaults = yaml.safe_load((ROOT / "roles/flannel/defaults/main.yml").read_text(encoding="utf-8"))
    assert settings.variables.keys() <= defaults.keys()


def test_defaults_are_upstream_s() -> None:
    assert take_over().variables == {"flannel_etcd_endpoints": ENDPOINTS, "flannel_ip_masq": False}


def test_a_flag_counts_more_than_its_variable_and_an_empty_one_not() -> None:
    settings = take_over(
        "--etcd-prefix= --iface=eth1", FLANNELD_IFACE="eth2", FLANNELD_IP_MASQ="1", FLANNELD_ETCD_PREFIX="/a"
    )
    assert settings.variables["flannel_iface"] == ["eth1"]
    assert settings.variables["flannel_ip_masq"] is True
    assert settings.variables["flannel_etcd_prefix"] == "/a"


@pytest.mark.parametrize(
    ("arguments", "flag", "part"),
    [
        ("--kube-subnet-mgr", "kube-subnet-mgr", "Kubernetes keeps the leases"),
        ("--subnet-file=/run/x.env", "subnet-file", "/run/flannel/subnet.env"),
        ("--remote=192.0.2.1:8888", "remote", "no such flag"),
        ("--ip-masq false --iface=eth1", "false", "is no flag"),
        ("--ip-masq=maybe", "ip-masq", "cannot read the value"),
        ("--healthz-port=http", "healthz-port", "cannot read the value"),
    ],
)
def test_what_is_not_taken_over_is_told_with_the_next_step(arguments: str, flag: str, part: str) -> None:
    (problem,) = take_over(arguments).problems
    assert problem.flag == flag
    assert part in problem.message
    assert ";" in problem.message or ":" in problem.message


def test_what_does_no_harm_is_a_note() -> None:
    settings = take_over("--logtostderr --vmodule=a=3 --kube-annotation-prefix=x --kube-subnet-mgr=false")
    assert settings.problems == ()
    assert len(settings.notes) == 3


def test_a_password_is_never_shown() -> None:
    for settings in (take_over("--etcd-password=topsecret"), take_over(FLANNELD_ETCD_PASSWORD="topsecret")):
        assert "topsecret" not in repr(settings)
        assert any("flannel_etcd_password" in note for note in settings.notes)
