# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network config as module options, and as text without secrets."""

from __future__ import annotations

import json
from typing import Any, Dict

import pytest
import yaml
from ansible_collections.weft.flannel.plugins.module_utils._backends import BACKENDS
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._options import (
    NETWORK_OPTIONS,
    backend_keys,
    backend_spec,
    document_of,
    hide_secrets,
    option_name,
    options_of,
    readable,
    secrets_of,
)
from ansible_collections.weft.flannel.plugins.modules import flannel_network

PSK = "PSJHWGZKvcrYGDpjWzIMSqBVMd8D7kRDBZYhcgkJcZo="


def make_params(**given: Any) -> Dict[str, Any]:
    """Module parameters as Ansible fills them in: None for what is not set."""
    names = [name for name, _key, _kind in NETWORK_OPTIONS]
    params: Dict[str, Any] = {**dict.fromkeys([*names, "config", "backend"]), **given}
    if params["backend"] is not None:
        params["backend"] = {**dict.fromkeys(backend_spec()), **params["backend"]}
    return params


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("VNI", "vni"),
        ("DirectRouting", "direct_routing"),
        ("ListenPortV6", "listen_port_v6"),
        ("UDPEncap", "udp_encap"),
        ("ESPProposal", "esp_proposal"),
        ("AccessKeyID", "access_key_id"),
    ],
)
def test_option_name(key: str, name: str) -> None:
    assert option_name(key) == name


def test_keys_that_backends_share_are_of_one_kind() -> None:
    for keys in BACKENDS.values():
        for name, rule in keys.items():
            assert rule.kind == backend_keys()[name].kind
            assert rule.secret == backend_keys()[name].secret


def test_each_suboption_says_which_backends_have_it() -> None:
    documented = yaml.safe_load(flannel_network.DOCUMENTATION)["options"]["backend"]["suboptions"]
    for key in backend_keys():
        description = documented[option_name(key)]["description"]
        owners = {kind for kind, keys in BACKENDS.items() if key in keys}
        named = {kind for kind in BACKENDS if f"V({kind})" in description}
        # wireguard's modes are named like nothing else; every other V() of a backend name means the backend
        assert named == owners, key


def test_only_what_is_set_is_in_the_document() -> None:
    params = make_params(
        network="10.5.0.0/16", enable_ipv6=False, backend={"type": "vxlan", "learning": False}
    )
    assert document_of(params) == {
        "EnableIPv6": False,
        "Network": "10.5.0.0/16",
        "Backend": {"Type": "vxlan", "Learning": False},
    }


def test_a_suboption_of_another_backend_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        document_of(make_params(network="10.5.0.0/16", backend={"type": "ipip", "psk": PSK}))
    assert "backend.psk" in caught.value.subject
    assert "ipsec, wireguard" in caught.value.next_step
    assert PSK not in str(caught.value)


@pytest.mark.parametrize("key", ["PSK", "psk", "AccessKeySecret"])
def test_a_secret_in_the_config_option_is_refused(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        document_of({**make_params(), "config": {"Network": "10.5.0.0/16", "Backend": {key: PSK}}})
    assert PSK not in str(caught.value)


def test_options_of_has_every_option_and_every_default() -> None:
    options = options_of(parse_config('{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard"}}'))
    assert set(options) == {name for name, _key, _kind in NETWORK_OPTIONS} | {"backend"}
    assert (options["enable_ipv6"], options["ipv6_network"]) == (False, None)
    assert options["backend"]["listen_port"] == 51820
    assert options["backend"]["psk"] == ""


def test_options_of_are_options_again() -> None:
    """What flannel_network_info returns can be given to flannel_network, and means the same."""
    config = parse_config('{"Network":"10.0.0.0/22","EnableIPv6":true,"IPv6Network":"fc00::/48"}')
    document = document_of(make_params(**options_of(config)))
    again = parse_config(json.dumps(document))
    assert (again.ipv4, again.ipv6, again.backend) == (config.ipv4, config.ipv6, config.backend)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"Network":"10.5.0.0/16","Backend":{{"Type":"wireguard","PSK":"{PSK}"}}}}',
        f'{{"backend": {{"psk" : "{PSK}"}}}}',
        f'{{"Backend":{{"P\\u0053K":"{PSK}"}}}}',
        f'{{"Backend":{{"PSK":"{PSK}","PSK":""}}}}',
        f'{{"Backend":{{"PSK":["{PSK}"]}}}}',
        f'{{"Elsewhere":[{{"AccessKeySecret":"{PSK}"}}]}}',
        f'{{"Backend":{{"PSK":"{PSK}"}}',
        f'{{"Backend":{{"PSK":"{PSK}',
        f'{{"Backend":{{"PSK":{PSK}}}}}',
        f'{{"Backend":{{"PSK":"x\\"{PSK}"}}',
        f"{{'Backend':{{'PSK':'{PSK}'}}}}",
        f"PSK = {PSK}",
    ],
)
def test_no_secret_is_shown_whatever_the_text(text: str) -> None:
    assert PSK not in hide_secrets(text)
    assert PSK not in readable(text, secrets_of(text))
    assert PSK not in readable(text, frozenset())


@pytest.mark.parametrize(
    "text", ['{"Network": "10.5.0.0/16"}', "no JSON", "", "{}", '{"Backend":{"PSK":""}}']
)
def test_a_text_without_secret_is_shown_as_it_is(text: str) -> None:
    assert hide_secrets(text) == text


def test_a_new_secret_is_marked() -> None:
    text = f'{{"Backend":{{"PSK":"{PSK}"}}}}'
    assert '"PSK": "(hidden)"' in readable(text, secrets_of(text))
    assert '"PSK": "(hidden, new)"' in readable(text, frozenset({"another"}))
