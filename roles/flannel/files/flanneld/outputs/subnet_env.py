# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""subnet.env: what Docker and CNI read (spec 3.1), and what an earlier life of this host left in it (spec 3.2)."""

from __future__ import annotations

import logging
import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Dict, Optional, cast

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError, LeaseError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Subnets
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    IPV4,
    IPV6,
    Family,
    Network,
    family_of,
    first_usable,
    parse_cidr,
)

from flanneld.outputs.files import read_regular

log = logging.getLogger(__name__)

_KEYS = {IPV4: ("FLANNEL_NETWORK", "FLANNEL_SUBNET"), IPV6: ("FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET")}
_LONGEST_LINE = 1000
_ASSIGNMENT = re.compile(r"""^\s*(?:export\s+)?(\w+)\s*[=:]\s*["']?([^"'#]*?)["']?\s*(?:#.*)?$""")


def render_subnet_env(config: NetworkConfig, subnets: Subnets, mtu: int, ip_masq: bool) -> str:
    """The text of the file. ip_masq: flanneld masquerades, so that its readers must not."""
    lines = []
    for family in config.families:
        pool, subnet = config.pool(family), subnets.of(family)
        if pool is not None and subnet is not None:
            network_key, subnet_key = _KEYS[family]
            lines += [f"{network_key}={pool.network}", f"{subnet_key}={first_usable(subnet)}"]
    lines += [f"FLANNEL_MTU={mtu}", f"FLANNEL_IPMASQ={str(ip_masq).lower()}"]
    return "".join(f"{line}\n" for line in lines)


def read_previous_subnets(path: Path) -> Optional[Subnets]:
    """The subnets that the file names, None if it names none; what is unusable in it is logged and left out."""
    try:
        text = read_regular(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("Couldn't read previous %s: %s", path, error.strerror)
        return None
    # a pattern for assignments is slow on long lines, and no line of ours is long
    matches = (_ASSIGNMENT.match(line) for line in text.splitlines() if len(line) <= _LONGEST_LINE)
    values = {match.group(1): match.group(2) for match in matches if match}
    v4, v6 = (_find_subnet(values, family) for family in (IPV4, IPV6))
    if v4 is None and v6 is None:
        return None
    return Subnets(cast(Optional[IPv4Network], v4), cast(Optional[IPv6Network], v6))


def _find_subnet(values: Dict[str, str], family: Family) -> Optional[Network]:
    key = _KEYS[family][1]
    found = []
    for text in filter(None, (part.strip() for part in values.get(key, "").split(","))):
        try:
            subnet = parse_cidr(text)
            if family_of(subnet) is family:
                _require_leasable(subnet)
                found.append(subnet)
        except (AddressError, LeaseError) as error:
            log.warning("Couldn't parse previous %s: %s", key, error)
    if len(found) > 1:
        log.warning("Ignoring previous %s: more than 1 entry found", key)
    return found[0] if len(found) == 1 else None


def _require_leasable(subnet: Network) -> None:
    """Raises LeaseError for a network that can be no lease, as 10.5.34.1/32."""
    Subnets(v4=subnet) if isinstance(subnet, IPv4Network) else Subnets(v6=subnet)
