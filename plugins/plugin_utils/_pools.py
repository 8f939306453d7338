# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The network config as filters get it: as the options of flannel_network, or as upstream's JSON."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Union

from ansible_collections.weft.flannel.plugins.module_utils._config import (
    NetworkConfig,
    load_document,
    parse_config,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._gojson import encode
from ansible_collections.weft.flannel.plugins.module_utils._options import NETWORK_OPTIONS


def read_pools(config: Union[str, Mapping[str, Any]]) -> NetworkConfig:
    """The config with its address pools. Its backend is of no matter to them and is left out.

    Raises ConfigError for what flannel_network would refuse, too.
    """
    document = load_document(config) if isinstance(config, str) else _name_keys(config)
    pools = {key: document[key] for _name, key, _kind in NETWORK_OPTIONS if document.get(key) is not None}
    return parse_config(encode({**pools, "Backend": {"Type": "alloc"}}))


def _name_keys(config: Mapping[str, Any]) -> Dict[str, Any]:
    """Options by the names of upstream's keys."""
    if not isinstance(config, Mapping):
        raise ConfigError(
            "network config",
            f"it is a {type(config).__name__}, not a dictionary",
            "give the config that flannel_network_info returns, or the options of flannel_network",
        )
    keys = {name: key for name, key, _kind in NETWORK_OPTIONS}
    given = {keys.get(str(name), str(name)): value for name, value in config.items()}
    return load_document(encode({key: value for key, value in given.items() if key in keys.values()}))
