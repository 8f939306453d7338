# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An external interface, or a Backend.MTU, that leaves no room for containers' packets, with every backend."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from ipaddress import ip_address

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface, InterfaceChoice
from flanneld import startup
from flanneld.backends import BackendError
from flanneld.backends.room import require_room
from flanneld.instance import Instance
from flanneld.leasing import Identity
from flanneld.options import parse_options
from flanneld.outputs.state_dir import StateDir

V4 = {"Network": "10.5.0.0/16"}
DUAL = {**V4, "EnableIPv6": True, "IPv6Network": "fd05::/48"}
V6 = {**DUAL, "EnableIPv4": False}

SMALLEST = [
    ("vxlan", V4, 118), ("vxlan", DUAL, 1350), ("vxlan", V6, 1350),
    ("wireguard", V4, 148), ("wireguard", DUAL, 1360),
    ("host-gw", V4, 68), ("host-gw", DUAL, 1280),
    ("ipip", V4, 88), ("ipsec", V4, 145), ("udp", V4, 96),
    ("alloc", V4, 68), ("alloc", V6, 1280), ("extension", V4, 68),
]  # fmt: skip
"""The smallest MTU of the external interface: 68 or 1280 for the container, and what is around its packet."""


def config(kind, network, **options):
    return parse_config(json.dumps({**network, "Backend": {"Type": kind, **options}}))


@pytest.mark.parametrize(("kind", "network", "smallest"), SMALLEST)
def test_an_interface_without_room_is_refused_by_name(kind, network, smallest):
    cfg = config(kind, network)
    require_room(cfg, "eth0", smallest)
    for mtu in (smallest - 1, 20, 0):
        cause = f"{kind} on eth0: MTU {mtu} of iface eth0 is too small for {kind} mode to work"
        with pytest.raises(BackendError, match=f"{cause}: .* raise it to {smallest} or more"):
            require_room(cfg, "eth0", mtu)


@pytest.mark.parametrize(
    ("kind", "network", "smallest"), [case for case in SMALLEST if case[0] in ("vxlan", "wireguard")]
)
def test_an_mtu_of_the_network_config_without_room(kind, network, smallest):
    require_room(config(kind, network, MTU=smallest), "eth0", 60)
    cause = f"Backend.MTU {smallest - 1} is too small for {kind} mode to work"
    with pytest.raises(ConfigError, match=f"{cause}: .* raise it to {smallest} or more, or leave it out"):
        require_room(config(kind, network, MTU=smallest - 1), "eth0", 1500)


class Store:
    def read_config(self):
        return json.dumps({**V4, "Backend": {"Type": "vxlan"}})


def test_it_is_told_before_anything_is_touched(tmp_path, monkeypatch):
    narrow = Interface(2, "eth0", 117)
    choice = InterfaceChoice(
        narrow, ip_address("192.0.2.1"), None, ip_address("192.0.2.1"), None, "asked for"
    )
    monkeypatch.setattr(startup, "choose", lambda *arguments, **keywords: choice)
    options = parse_options([f"--state-dir={tmp_path}", f"--subnet-file={tmp_path}/subnet.env"], {})
    start = startup.Start(
        options, Instance(), Store(), StateDir(tmp_path), Identity("a" * 32, "b", "h1"), lambda what: None,
        threading.Event(),
    )  # fmt: skip
    with pytest.raises(BackendError, match="MTU 117 of iface eth0"):
        startup.join_network(start)
    assert list(tmp_path.iterdir()) == []
    choice = replace(choice, interface=replace(narrow, mtu=118))
    with pytest.raises(AttributeError, match="acquire"):  # it goes on to its lease
        startup.join_network(start)
