# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One flannel network on this host, and every name it owns.

No other code builds a path, a device name or a chain name. The instance `default` has upstream's names, so that a
host can move between the two daemons in place; every other instance carries its own name as a suffix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import FrozenSet, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, IPV4, Family

DEFAULT = "default"
LONGEST_DEVICE_NAME = 15  # IFNAMSIZ less its NUL
NAME = "(?!flanneld$)[a-z0-9]{1,12}"
"""What an instance may be called. The name of a chain has 28 characters at most; flanneld.env is that of `default`."""
JOINING_DEVICE = re.compile(f"flannel-(join|gro)|flannel[jg]-{NAME}")
"""What Instance.joining_devices are called, of whichever instance: they have a kind that containers have, too."""


@dataclass(frozen=True)
class Instance:
    """name: `default`, or another that matches NAME."""

    name: str = DEFAULT

    @property
    def _suffix(self) -> str:
        return "" if self.name == DEFAULT else f"-{self.name}"

    @property
    def state_dir(self) -> str:
        """What must survive a reboot: identity, MAC addresses, keys, the last lease and the last peers."""
        return f"/var/lib/flanneld{self._suffix}"

    @property
    def run_dir(self) -> str:
        """What is made anew at every boot."""
        return f"/run/flannel{self._suffix}"

    @property
    def subnet_file(self) -> str:
        """The env file that Docker and CNI read (spec 3.1)."""
        return f"{self.run_dir}/subnet.env"

    @property
    def socket(self) -> str:
        """Where the running agent answers `flanneld status`: HTTP on a Unix socket, for root."""
        return f"{self.run_dir}/flanneld.sock"

    @property
    def lock(self) -> str:
        """Held by the running agent, so that there is one."""
        return f"{self.run_dir}/flanneld.lock"

    @property
    def env_file(self) -> str:
        """The settings that the service starts with, as FLANNELD_*."""
        return f"/etc/flanneld/{'flanneld' if self.name == DEFAULT else self.name}.env"

    @property
    def password_file(self) -> str:
        """The password of the etcd user, for root only; the service gets it as a credential."""
        return f"/etc/flanneld/{'' if self.name == DEFAULT else self.name + '.'}etcd-password"

    @property
    def ipsec_psk_file(self) -> str:
        """The pre-shared key of `ipsec`, for root only; the service gets it as a credential."""
        return f"/etc/flanneld/{'' if self.name == DEFAULT else self.name + '.'}ipsec-psk"

    @property
    def wireguard_psk_file(self) -> str:
        """The pre-shared key of `wireguard`, for root only; the service gets it as a credential."""
        return f"/etc/flanneld/{'' if self.name == DEFAULT else self.name + '.'}wireguard-psk"

    @property
    def upstream_key_file(self) -> str:
        """Where upstream's flanneld keeps its private key of `wireguard` until the next reboot (spec 5.7)."""
        return f"{self.run_dir}/wgkey"

    @property
    def udp_record(self) -> str:
        """What forwards for `udp`, so that the next process begins with it; until the next reboot, as the TUN."""
        return f"{self.run_dir}/udp.json"

    @property
    def udp_early_record(self) -> str:
        """Which programs of network cards' drivers are those of `udp`; until the next reboot, as they are."""
        return f"{self.run_dir}/udp-xdp.json"

    @property
    def unit(self) -> str:
        return "flanneld.service" if self.name == DEFAULT else f"flanneld@{self.name}.service"

    @property
    def charon_dir(self) -> str:
        """Where this instance's IKE daemon has its socket and what else it makes anew at every start."""
        return f"{self.run_dir}/charon"

    @property
    def charon_socket(self) -> str:
        """Where it answers: VICI on a Unix socket, for root."""
        return f"{self.charon_dir}/charon.vici"

    @property
    def charon_unit(self) -> str:
        return "flannel-charon.service" if self.name == DEFAULT else f"flannel-charon@{self.name}.service"

    def vxlan_device(self, vni: int, family: Family) -> str:
        """Device name of a VTEP (spec 5.3): flannel.1, flannel-v6.1; flannel.7-blue, flannel6.7-blue.

        Raises ConfigError when it is longer than a device name may be.
        """
        base = "flannel" if family is IPV4 else "flannel-v6" if self.name == DEFAULT else "flannel6"
        return _checked(f"{base}.{vni}{self._suffix}")

    @property
    def ipip_device(self) -> str:
        """Device name of the tunnel of `ipip` (spec 5.5): flannel.ipip; flanneli-blue."""
        return self._fixed_device("flannel.ipip", "flanneli")

    @property
    def tun_device(self) -> str:
        """Device name of the TUN of `udp` (spec 5.4): flannel0; flannel0-blue."""
        return self._fixed_device("flannel0", "flannel0")

    @property
    def joining_devices(self) -> Tuple[str, str]:
        """Device names of the pair in which `udp` joins TCP packets, where they go in and where they come out:
        flannel-join, flannel-gro; flannelj-blue, flannelg-blue."""
        return self._fixed_device("flannel-join", "flannelj"), self._fixed_device("flannel-gro", "flannelg")

    def wireguard_device(self, family: Family) -> str:
        """Device name of `wireguard` (spec 5.7): flannel-wg, flannel-wg-v6; flannelw-blue, flannelw6-blue."""
        if family is IPV4:
            return self._fixed_device("flannel-wg", "flannelw")
        return self._fixed_device("flannel-wg-v6", "flannelw6")

    @property
    def fixed_devices(self) -> FrozenSet[str]:
        """Names of all devices whose names do not hang on the network config; none where they would be too long."""
        try:
            wireguard = (self.wireguard_device(family) for family in FAMILIES)
            return frozenset({self.ipip_device, self.tun_device, *self.joining_devices, *wireguard})
        except ConfigError:
            return frozenset()

    def _fixed_device(self, upstreams: str, base: str) -> str:
        """Raises ConfigError when it is longer than a device name may be."""
        return _checked(upstreams if self.name == DEFAULT else f"{base}{self._suffix}")

    @property
    def container_bridge(self) -> str:
        """The bridge of podman's or nerdctl's network `flannel`, which they make."""
        return self._fixed_device("flannel-br", "flannelb")

    @property
    def masquerade_chain(self) -> str:
        return f"FLANNEL-POSTRTG{self._suffix.upper()}"

    @property
    def forward_chain(self) -> str:
        return f"FLANNEL-FWD{self._suffix.upper()}"

    def nftables_table(self, family: Family) -> str:
        """Name of our nftables table in that family (spec 6.3)."""
        return f"flannel-{family.name}{self._suffix}"


def list_instances() -> Tuple[Instance, ...]:
    """Those that have a state directory on this host."""
    default = Path(Instance().state_dir)
    names = (path.name[len(default.name) :] for path in default.parent.glob(f"{default.name}*"))
    found = (Instance(name[1:] or DEFAULT) for name in names if re.fullmatch(f"|-{NAME}", name))
    return tuple(sorted(found, key=lambda instance: instance.name))


def _checked(name: str) -> str:
    """Raises ConfigError when it is longer than a device name may be."""
    if len(name) > LONGEST_DEVICE_NAME:
        raise ConfigError(
            f"device {name}",
            f"its name is longer than the {LONGEST_DEVICE_NAME} characters that Linux allows",
            "shorten --instance, or choose a VNI with fewer digits in the network config",
        )
    return name
