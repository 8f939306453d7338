# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the external interface leaves room for packets of containers, whatever a backend puts around them."""

from __future__ import annotations

from typing import Mapping

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family

from flanneld.backends import BackendError, find_backend

SMALLEST_MTU: Mapping[Family, int] = {IPV4: 68, IPV6: 1280}
"""What Linux has a family on an interface with (RFC 791, RFC 8200), in bytes."""


def require_room(config: NetworkConfig, interface: str, underlay: int) -> None:
    """For packets of containers within those of the external interface, whatever the backend puts around them.

    underlay: MTU of that interface. Raises BackendError; ConfigError where the network config sets the MTU.
    """
    inner = find_backend(config).mtu(config, underlay)
    family = max(config.families, key=SMALLEST_MTU.__getitem__)
    lacking = SMALLEST_MTU[family] - inner
    if lacking <= 0:
        return
    kind, told = config.backend.type, config.backend.options.get("MTU")
    if isinstance(told, int) and told:
        raise ConfigError(
            "network config",
            f"Backend.MTU {told} is too small for {kind} mode to work: it leaves {inner} bytes for a container's "
            f"packet, and {_title(family)} needs {SMALLEST_MTU[family]}",
            f"raise it to {told + lacking} or more, or leave it out",
        )
    raise BackendError(
        f"{kind} on {interface}",
        f"MTU {underlay} of iface {interface} is too small for {kind} mode to work: it leaves {max(inner, 0)} bytes "
        f"for a container's packet, and {_title(family)} needs {SMALLEST_MTU[family]}",
        f"raise it to {underlay + lacking} or more, or choose another interface with --iface",
    )


def _title(family: Family) -> str:
    return f"IPv{family.version}"
