# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From settings to a node with a lease: network config, interface, backend, subnet, in this order (spec 0.2)."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Callable, TypeVar

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    ConfigError,
    StoreLeaseLost,
    StoreUnavailable,
)
from ansible_collections.weft.flannel.plugins.module_utils._interface import choose_interface
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4

from flanneld.backends import Backend, Host, Node, find_backend
from flanneld.instance import Instance
from flanneld.leasing import Claim, SubnetManager
from flanneld.leasing.backoff import Backoff
from flanneld.options import Options
from flanneld.outputs.notify import notify
from flanneld.outputs.state_dir import StateDir
from flanneld.outputs.subnet_env import read_previous_subnets
from flanneld.tables.link import read_vxlan_mac
from flanneld.tables.underlay import lookup_route, read_interfaces

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Stopped(Exception):
    """The agent was told to stop while it waited."""


def join_network(options: Options, instance: Instance, manager: SubnetManager, stop: threading.Event) -> Node:
    """A node with its lease. Waits for the store and a usable network config as long as it takes; raises what cannot
    be waited for: InterfaceError, BackendError, OutOfSubnets, StoreAuthError, StoreTLSError; Stopped."""
    config = wait_for("fetch network config", lambda: _read_usable_config(manager), stop)
    log.info("Found network config - Backend type: %s", config.backend.type)
    if config.backend_was_absent:
        log.warning(
            "The network config has no Backend, which means udp to every flannel; write the type you want"
        )
    backend = find_backend(config)
    interfaces, default_routes = read_interfaces()
    choice = choose_interface(options.interface, config.families, interfaces, default_routes, lookup_route)
    log.info(
        "Using interface with name %s and address %s: %s", choice.interface.name, choice.ipv4, choice.reason
    )
    log.info("Using %s as external address", choice.public_ip)
    state = StateDir(Path(options.state_dir))
    host = Host(instance, choice, read_vxlan_mac, state.recall_mac, state.remember_mac)
    local = backend.prepare(host, config)
    claim = Claim(backend.attributes(local, choice, config), read_previous_subnets(Path(options.subnet_file)))
    lease = wait_for("acquire lease", lambda: manager.acquire(claim, config), stop)
    return Node(instance, config, choice, lease, local)


def wait_for(what: str, attempt: Callable[[], Result], stop: threading.Event) -> Result:
    """Try until it works. Each new reason for waiting is told once. Raises Stopped."""
    backoff = Backoff()
    told = ""
    while True:
        try:
            return attempt()
        except (ConfigError, StoreUnavailable, StoreLeaseLost) as error:
            if str(error) != told:
                told = str(error)
                log.error("Couldn't %s, waiting: %s", what, error)
                notify(f"STATUS=waiting to {what}: {error}")
        if backoff.wait(stop):
            raise Stopped


def _read_usable_config(manager: SubnetManager) -> NetworkConfig:
    config = manager.read_config()
    check_usable(config)
    return config


def check_usable(config: NetworkConfig) -> Backend:
    """The backend of a network config that this agent can run. Raises ConfigError."""
    if config.families != (IPV4,):
        raise ConfigError(
            "network config",
            "this agent does not have IPv6 yet",
            "set EnableIPv6 to false and EnableIPv4 to true",
        )
    return find_backend(config)
