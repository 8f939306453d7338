# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flags and variables (spec 3.5, 3.6, 10-A A28)."""

from __future__ import annotations

import pytest
from flanneld.cli import main
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
        ([], {"FLANNELD_HEALTHZ_PORT": "8081"}, "flag --healthz-port: this agent does not have the feature; the health "
         "endpoint is not built yet; ask systemd: systemctl status flanneld"),
        (["--public-ip=192.0.2"], {}, "flag --public-ip: invalid public IP address: 192.0.2; use an IPv4 address"),
        (["--etcd-endpoints="], {}, "flag --etcd-endpoints: it is empty; name at least one endpoint: http://192.0.2.1:2379"),
    ],
)  # fmt: skip
def test_bad_usage_names_flag_cause_and_next_step(arguments, environment, message):
    with pytest.raises(UsageError) as caught:
        parse_options(arguments, environment)
    assert str(caught.value) == message


def test_an_unbuilt_flag_at_its_default_asks_for_nothing():
    parse_options(["--healthz-port=0", "--kube-subnet-mgr=false"], {})


def test_a_password_is_never_shown(capsys):
    assert main(["--etcd-password=hunter2"], {}) == 2
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
