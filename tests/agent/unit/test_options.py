# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flags and variables (spec 3.5, 3.6, 10-A A28)."""

from __future__ import annotations

import pytest
from flanneld.cli import main
from flanneld.instance import Instance
from flanneld.options import FLAGS, UsageError, parse_options


def test_defaults_are_upstreams():
    options = parse_options([], {})
    assert options.store.endpoints == ("http://127.0.0.1:4001", "http://127.0.0.1:2379")
    assert options.layout.config == "/coreos.com/network/config"
    assert options.subnet_file == "/run/flannel/subnet.env"
    assert (options.ip_masq, options.iptables_forward_rules, options.iptables_resync) == (False, True, 5)
    assert options.subnet_lease_renew_margin == 60


@pytest.mark.parametrize(
    "arguments", [["-iface=eth1"], ["--iface=eth1"], ["-iface", "eth1"], ["--iface", "eth1"]]
)
def test_one_dash_or_two_with_and_without_equals(arguments):
    assert parse_options(arguments, {}).iface == ("eth1",)


def test_repeatable_flags_keep_their_order():
    assert parse_options(["--iface=eth1", "--iface=192.0.2.1"], {}).iface == ("eth1", "192.0.2.1")


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("t", True), ("TRUE", True), ("0", False), ("F", False)]
)
def test_booleans_as_in_go(text, value):
    assert parse_options([f"--ip-masq={text}"], {}).ip_masq is value


def test_integers_as_in_go():
    assert parse_options(["--iptables-resync=0x10"], {}).iptables_resync == 16


def test_a_flag_wins_over_its_variable():
    environment = {"FLANNELD_IP_MASQ": "true", "FLANNELD_IFACE": "eth9", "FLANNELD_V": ""}
    options = parse_options(["--iface=eth1"], environment)
    assert options.ip_masq is True
    assert options.iface == ("eth1",)


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--etcd-endpoint=x"], {}, "flag --etcd-endpoint: there is no such flag; did you mean --etcd-endpoints?"),
        (["--qwertz"], {}, "flag --qwertz: there is no such flag; see flanneld --help"),
        (["--iface"], {}, "flag --iface: it needs a value; write --iface=VALUE"),
        (["--ip-masq", "false"], {}, "argument false: flanneld takes flags only; give a value as --flag=value; "
         "a boolean needs the '=': --ip-masq=false"),
        (["--ip-masq=yes"], {}, "flag --ip-masq: 'yes' is not a boolean; use true or false"),
        (["--iptables-resync=5s"], {}, "flag --iptables-resync: '5s' is not an integer; use a whole number"),
        ([], {"FLANNELD_V": "often"}, "FLANNELD_V: 'often' is not an integer; use a whole number"),
        (["--subnet-lease-renew-margin=0"], {}, "flag --subnet-lease-renew-margin: 0 minutes do not fit a lease of "
         "24 hours; use 1 to 1439"),
        (["--kube-subnet-mgr"], {}, "flag --kube-subnet-mgr: this agent does not have the feature; Kubernetes as the "
         "source of leases is not built yet; use etcd"),
        ([], {"FLANNELD_ETCD_PASSWORD": "s3cret"}, "flag --etcd-password: this agent does not have the feature; a "
         "password on a command line or in the environment can be read by others on this host; put it into a file of "
         "mode 0600 and name that with --etcd-password-file"),
        ([], {"FLANNELD_HEALTHZ_PORT": "80810"}, "flag --healthz-port: 80810 is no port; use 0 to 65535"),
        (["--public-ip=192.0.2"], {}, "flag --public-ip: 192.0.2: invalid IP address format; write an address such as "
         "192.168.64.3 or fd00::3"),
        (["--public-ipv6=192.0.2.1"], {}, "flag --public-ipv6: 192.0.2.1: invalid IPv6 address format; write an "
         "address such as fd00::3"),
        (["--no-masquerade-cidr=10.0.0.0"], {}, "flag --no-masquerade-cidr: 10.0.0.0: invalid CIDR address; write a "
         "network such as 10.5.0.0/16 or fd00:5::/48"),
        (["--firewall=ipchains"], {}, "flag --firewall: there is no 'ipchains'; use one of: auto, iptables, nftables, "
         "none"),
        (["--log-format=xml"], {}, "flag --log-format: there is no 'xml'; use one of: text, json"),
        (["--instance=Blue-1"], {}, "flag --instance: 'Blue-1' cannot be part of the names on a host; use a word of at "
         "most 12 lower-case letters and digits, and not flanneld"),
        (["--subnet-lease-ttl=0"], {}, "flag --subnet-lease-ttl: the period is below one second; use 1 or more"),
        (["--etcd-endpoints="], {}, "flag --etcd-endpoints: it is empty; name at least one endpoint: http://192.0.2.1:2379"),
    ],
)  # fmt: skip
def test_bad_usage_names_flag_cause_and_next_step(arguments, environment, message):
    with pytest.raises(UsageError) as caught:
        parse_options(arguments, environment)
    assert str(caught.value) == message


def test_an_unbuilt_flag_at_its_default_asks_for_nothing():
    parse_options(["--healthz-port=0", "--kube-subnet-mgr=false"], {})


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--etcd-password=hunter2"], {}),
        (["-etcd-password", "hunter2"], {}),
        ([], {"FLANNELD_ETCD_PASSWORD": "hunter2"}),
    ],
)
def test_a27_a_password_as_upstream_takes_it_is_refused_and_never_shown(capsys, arguments, environment):
    assert main(arguments, environment) == 2
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err


def test_bad_usage_exits_2(capsys):
    assert main(["--qwertz"], {}) == 2
    assert "there is no such flag" in capsys.readouterr().err


def test_help_lists_every_built_flag(capsys):
    assert main(["-h"], {}) == 0
    shown = capsys.readouterr().out
    for flag in FLAGS:
        assert (f"--{flag.name}\n" in shown) is not bool(flag.unbuilt)


def test_the_instance_names_every_path_that_is_not_given():
    options = parse_options(["--instance=blue"], {})
    assert (options.subnet_file, options.state_dir) == (
        "/run/flannel-blue/subnet.env",
        "/var/lib/flanneld-blue",
    )
    given = parse_options(["--instance=blue", "--subnet-file=/run/x.env", "--state-dir=/srv/y"], {})
    assert (given.subnet_file, given.state_dir) == ("/run/x.env", "/srv/y")


def test_an_instance_has_names_of_its_own_that_are_not_too_long():
    for name in ("a", "blue", "flanneld2", "a" * 12):
        instance = Instance(parse_options([f"--instance={name}"], {}).instance)
        assert len(instance.masquerade_chain) <= 28
        assert instance.env_file != Instance().env_file
    for name in ("flanneld", "a" * 13):  # its env file is that of the default one; iptables refuses its chain
        with pytest.raises(UsageError, match="at most 12 lower-case letters and digits, and not flanneld"):
            parse_options([f"--instance={name}"], {})


def test_the_default_instance_has_upstream_s_path():
    assert parse_options([], {}).subnet_file == "/run/flannel/subnet.env"


@pytest.mark.parametrize(("text", "value"), [("auto", None), ("true", True), ("false", False)])
def test_checksum_offload_is_left_alone_unless_asked_for(text, value):
    assert parse_options([f"--tx-checksum-offload={text}"], {}).tx_checksum is value
