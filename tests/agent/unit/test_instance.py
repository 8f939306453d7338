# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names that an instance owns (spec appendix D): upstream's for the default one, with a suffix for others."""

from __future__ import annotations

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6
from flanneld.instance import JOINING_DEVICE, Instance


def test_the_default_instance_has_upstreams_names() -> None:
    instance = Instance()
    assert (instance.vxlan_device(1, IPV4), instance.vxlan_device(1, IPV6)) == ("flannel.1", "flannel-v6.1")
    joining = {"flannel-join", "flannel-gro"}
    assert set(instance.joining_devices) == joining
    assert instance.fixed_devices == {"flannel0", "flannel.ipip", "flannel-wg", "flannel-wg-v6", *joining}


def test_another_instance_shares_no_name() -> None:
    blue = Instance("blue")
    assert (blue.vxlan_device(7, IPV4), blue.vxlan_device(7, IPV6)) == ("flannel.7-blue", "flannel6.7-blue")
    joining = {"flannelj-blue", "flannelg-blue"}
    assert set(blue.joining_devices) == joining
    assert blue.fixed_devices == {
        "flannel0-blue", "flanneli-blue", "flannelw-blue", "flannelw6-blue", *joining
    }  # fmt: skip
    assert all(JOINING_DEVICE.fullmatch(name) for name in (*joining, *Instance().joining_devices))
    assert not JOINING_DEVICE.fullmatch("flannel0-blue")


def test_a_name_that_is_too_long_says_what_to_do() -> None:
    green = Instance("greenish")
    with pytest.raises(ConfigError, match="shorten --instance"):
        green.wireguard_device(IPV6)
    assert green.fixed_devices == set()
