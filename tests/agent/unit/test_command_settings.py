# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command finds the settings that the service starts with, as systemd would read them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._envfile import parse_env_file, split_words
from flanneld.commands import COMMANDS
from flanneld.commands.settings import read_settings, take_switches
from flanneld.options import UsageError

# Left: a line of an EnvironmentFile; right: what `systemctl show -p Environment`-style reading makes of it
# (systemd 252, src/basic/env-file.c).
LINES = [
    ("A=b", {"A": "b"}),
    ("A=b c  ", {"A": "b c"}),
    ("  A = b", {"A": "b"}),
    ("# A=b", {}),
    ("; A=b", {}),
    ("A='b \\ c'", {"A": "b \\ c"}),
    ('A="b \\" \\c"', {"A": 'b " \\c'}),
    ('A="b\\\nc"', {"A": "bc"}),
    ("A=b\\\nc", {"A": "bc"}),
    ("A=b\\ \\'c", {"A": "b 'c"}),
    ("A=it's", {"A": "it's"}),
    ("A='b'\"c\"", {"A": "bc"}),
    ("A=", {"A": ""}),
    ("no assignment\nA=b", {"A": "b"}),
    ("A=b # c", {"A": "b # c"}),
    ("A=1\nA=2", {"A": "2"}),
    ("A=1\r\nB=2", {"A": "1", "B": "2"}),
]


@pytest.mark.parametrize(("text", "variables"), LINES)
def test_an_env_file_is_read_as_systemd_does(text: str, variables: dict[str, str]) -> None:
    assert parse_env_file(text) == variables


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('"--iface=eth0" "--ip-masq"', ["--iface=eth0", "--ip-masq"]),
        ('"--iface-regex=^10\\\\.5\\\\.\\" x$"', ['--iface-regex=^10\\.5\\." x$']),
        ("--iface='a b'  --v=1", ["--iface=a b", "--v=1"]),
        ("", []),
        ('""', [""]),
    ],
)
def test_the_flags_of_the_service_are_split_as_systemd_does(value: str, words: list[str]) -> None:
    assert split_words(value) == words


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "flanneld.env").write_text(
        "FLANNELD_ETCD_ENDPOINTS=http://192.0.2.9:2379\nFLANNELD_IP_MASQ=true\n"
        """FLANNEL_OPTIONS='"--iface=eth1" "--iface=eth2" "--kernel-resync" "7"'\n"""
    )
    (tmp_path / "blue.env").write_text("FLANNELD_ETCD_PREFIX=/blue\n")
    return tmp_path


def test_the_settings_of_the_service_need_no_flag(etc: Path) -> None:
    settings = read_settings([], {}, etc)
    assert settings.options.endpoints == ("http://192.0.2.9:2379",)
    assert settings.options.iface == ("eth1", "eth2")
    assert settings.options.kernel_resync == 7
    assert settings.options.ip_masq
    assert settings.source == str(etc / "flanneld.env")


def test_a_given_flag_replaces_the_service_s(etc: Path) -> None:
    settings = read_settings(["--iface=eth9", "-kernel-resync", "8"], {"FLANNELD_IP_MASQ": "false"}, etc)
    assert settings.options.iface == ("eth9",)
    assert settings.options.kernel_resync == 8
    assert not settings.options.ip_masq


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["--instance=blue"], {}), (["-instance", "blue"], {}), ([], {"FLANNELD_INSTANCE": "blue"})],
)
def test_every_network_of_a_host_has_its_own(
    etc: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    settings = read_settings(arguments, environment, etc)
    assert settings.options.etcd_prefix == "/blue"
    assert settings.options.subnet_file == "/run/flannel-blue/subnet.env"
    assert settings.instance.name == "blue"


def test_without_a_service_the_defaults_count_and_are_named(tmp_path: Path) -> None:
    settings = read_settings([], {}, tmp_path)
    assert settings.options.etcd_prefix == "/coreos.com/network"
    assert settings.source == f"defaults, because there is no {tmp_path}/flanneld.env"


@pytest.mark.parametrize("name", ["../etc", "A", "a/b"])
def test_an_instance_cannot_lead_elsewhere(etc: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--instance"):
        read_settings([f"--instance={name}"], {}, etc)


def test_a_typo_is_refused(etc: Path) -> None:
    with pytest.raises(UsageError, match="--ifce"):
        read_settings(["--ifce=eth0"], {}, etc)


def test_switches_of_a_command_are_taken_out() -> None:
    assert take_switches(["--json", "--v=1", "-peers"], ("json", "peers")) == ({"json", "peers"}, ["--v=1"])


def test_every_command_exists_and_naming_them_loads_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import flanneld.commands; "
        "print(*(m for m in set(sys.modules) - before if 'flanneld' in m or 'etcd' in m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(done.stdout.split()) == ["flanneld", "flanneld.commands"]
    for command in COMMANDS.values():
        assert callable(importlib.import_module(command.module).run)
