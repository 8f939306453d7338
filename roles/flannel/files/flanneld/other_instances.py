# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other flannel networks of this host: no two may share an address."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._subnet import overlaps

from flanneld.backends import require_backend
from flanneld.instance import Instance, list_instances
from flanneld.last_life import list_networks
from flanneld.outputs.state_dir import StateDir


def require_usable(config: NetworkConfig, instance: Instance) -> None:
    """Raises ConfigError if this agent has no such backend, or the network overlaps one that this host has already.

    Each of two such agents would take the other's routes for its own leftovers. A network counts as soon as the host
    has a lease in it, and until its state directory is cleaned up, so that the one that was there first stays.
    """
    require_backend(config)
    for other in list_instances():
        remembered = None if other == instance else StateDir(Path(other.state_dir)).recall_lease()
        if remembered is None:
            continue
        for mine, theirs in product(list_networks(config), list_networks(parse_config(remembered.config))):
            if overlaps(mine, theirs):
                raise ConfigError(
                    "network config",
                    f"network {mine} of instance {instance.name} overlaps {theirs} of instance {other.name},"
                    " which this host is in as well",
                    "give each network of a host addresses of its own; if this host has left the other one:"
                    f" flanneld cleanup --instance={other.name}",
                )
