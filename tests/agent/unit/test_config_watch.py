# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change of the network config means to an agent that runs."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from flanneld.config_watch import ConfigWatch
from flanneld.leasing import ConfigSeen

OURS = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
SAME = '{ "Backend": {"Type": "VXLAN", "VNI": 1}, "network": "10.5.0.0/16" }'
OTHER = '{"Network":"10.6.0.0/16","Backend":{"Type":"vxlan"}}'


def watch(agreed):
    return ConfigWatch("/p/config", parse_config(OURS), agreed)


def test_a_change_is_pending_until_it_is_taken_back():
    config = watch(True)
    assert not config.see(ConfigSeen(OURS))
    assert config.pending == ""
    assert not config.see(ConfigSeen(OTHER))
    assert config.pending.startswith(
        "network config /p/config has changed; this agent keeps the old one: restart"
    )
    assert not config.see(ConfigSeen(SAME))
    assert config.pending == ""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (None, "the key is gone"),
        ("", "not a JSON object"),
        ('{"Network":"10.5.0.0/16","Backend":{"Type":"gce"}}', "backend type gce"),
    ],
)
def test_a_config_that_cannot_be_used_is_pending_and_never_taken(text, cause):
    for agreed in (True, False):
        config = watch(agreed)
        assert not config.see(ConfigSeen(text))
        assert cause in config.pending


def test_what_cannot_be_used_is_for_the_host_to_say():
    def require(config):
        if config.ipv4.network.overlaps(ip_network("10.6.128.0/17")):
            raise ConfigError("network config", "another instance has it", "choose another")

    for agreed in (True, False):
        config = ConfigWatch("/p/config", parse_config(OURS), agreed, require)
        assert not config.see(ConfigSeen(OTHER))
        assert "another instance has it" in config.pending
        assert not config.see(ConfigSeen(OURS))
        assert config.pending == ""


def test_only_a_start_with_an_old_config_is_made_again():
    assert watch(False).see(ConfigSeen(OTHER))
    config = watch(False)
    assert not config.see(ConfigSeen(OURS))
    assert not config.see(ConfigSeen(OTHER)), (
        "the store had ours meanwhile, so this is a change like any other"
    )


def test_the_same_text_is_told_once(caplog):
    config = watch(True)
    for _time in range(3):
        config.see(ConfigSeen(OTHER))
    assert len(caplog.records) == 1
