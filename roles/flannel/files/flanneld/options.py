# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flags and FLANNELD_* variables, with upstream's names and Go's syntax (spec 3.5, 3.6)."""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass, fields
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError, FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._goflags import FALSE, TRUE
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceRequest
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.module_utils._password import read_password
from ansible_collections.weft.flannel.plugins.module_utils._store import StoreOptions
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    parse_cidr,
    parse_ipv4,
    parse_ipv6,
)

from flanneld.instance import DEFAULT, NAME, Instance

_EXAMPLE = Instance("blue")


class UsageError(FlannelError):
    """The command line or the environment asks for something we do not have."""


@dataclass(frozen=True)
class Flag:
    """One flag. A flag with `unbuilt` is upstream's, and refused unless it is given its default."""

    name: str
    default: Any
    help: str
    unbuilt: str = ""

    @property
    def variable(self) -> str:
        return "FLANNELD_" + self.name.upper().replace("-", "_")

    @property
    def repeatable(self) -> bool:
        return isinstance(self.default, tuple)


_KUBE = "Kubernetes as the source of leases is not built yet; use etcd"
_PASSWORD = (
    "a password on a command line or in the environment can be read by others on this host; "
    "put it into a file of mode 0600 and name that with --etcd-password-file"
)

FLAGS: Tuple[Flag, ...] = (
    Flag(
        "etcd-endpoints", "http://127.0.0.1:4001,http://127.0.0.1:2379", "etcd endpoints, separated by commas"
    ),
    Flag("etcd-prefix", "/coreos.com/network", "etcd key prefix"),
    Flag("etcd-keyfile", "", "client key for etcd (PEM)"),
    Flag("etcd-certfile", "", "client certificate for etcd (PEM)"),
    Flag("etcd-cafile", "", "CA certificate that signed etcd's (PEM)"),
    Flag("etcd-username", "", "etcd user; needs https endpoints and --etcd-password-file"),
    Flag("etcd-password", "", "etcd password", _PASSWORD),
    Flag(
        "etcd-password-file",
        "",
        "file with the password of --etcd-username; by default the systemd credential etcd-password",
    ),
    Flag(
        "ipsec-psk-file",
        "",
        "file with the pre-shared key of the backend ipsec, which counts before PSK in the network config; by "
        f"default the systemd credential ipsec-psk or {Instance().ipsec_psk_file}, if there is one",
    ),
    Flag(
        "wireguard-psk-file",
        "",
        "file with the pre-shared key of the backend wireguard, which counts before PSK in the network config; by "
        f"default the systemd credential wireguard-psk or {Instance().wireguard_psk_file}, if there is one",
    ),
    Flag("iface", (), "interface for traffic between hosts: name or address; repeatable, first that works"),
    Flag(
        "iface-regex", (), "the same by a pattern on addresses, then names; tried after --iface; repeatable"
    ),
    Flag("iface-can-reach", "", "the same by the route to this address; tried last"),
    Flag("public-ip", "", "IPv4 address that other hosts reach this one at"),
    Flag("public-ipv6", "", "IPv6 address that other hosts reach this one at"),
    Flag(
        "subnet-file",
        "",
        f"where the env file for Docker and CNI is written; by default {Instance().subnet_file}, "
        f"with --instance={_EXAMPLE.name} {_EXAMPLE.subnet_file}",
    ),
    Flag(
        "subnet-lease-renew-margin",
        60,
        "minutes before expiry at which the lease is renewed at the latest, 1-1439; it is renewed after a third "
        "of its time anyway",
    ),
    Flag(
        "subnet-lease-ttl", 86400, "seconds that a lease lives without being renewed; the same on all hosts"
    ),
    Flag(
        "release-on-exit",
        False,
        "give the lease back when told to stop: for a host that leaves the network for good",
    ),
    Flag("ip-masq", False, "masquerade traffic that leaves the network"),
    Flag("ip-masq-fully-random-disable", False, "masquerade without --random-fully"),
    Flag(
        "no-masquerade-cidr",
        (),
        "destination outside the network that is not masqueraded with --ip-masq; repeatable",
    ),
    Flag(
        "firewall",
        "auto",
        "what the rules are made with: iptables, nftables, none, or auto: as EnableNFTables in the network config says",
    ),
    Flag("iptables-resync", 5, "seconds between checks of the firewall rules"),
    Flag("iptables-forward-rules", True, "accept traffic of the network in the FORWARD chain"),
    Flag(
        "ip-blackhole-route",
        False,
        "drop what is for our own subnet and has no container, instead of sending it out again",
    ),
    Flag("kube-subnet-mgr", False, "use Kubernetes instead of etcd", _KUBE),
    Flag("kube-api-url", "", "Kubernetes API server", _KUBE),
    Flag("kubeconfig-file", "", "kubeconfig", _KUBE),
    Flag("kube-annotation-prefix", "flannel.alpha.coreos.com", "prefix of node annotations", _KUBE),
    Flag("net-config-path", "/etc/kube-flannel/net-conf.json", "network config with Kubernetes", _KUBE),
    Flag("set-node-network-unavailable", True, "patch the node condition", _KUBE),
    Flag("healthz-ip", "127.0.0.1", "address that /healthz, /readyz and /metrics are served on"),
    Flag("healthz-port", 0, "port of the same; 0: none (flanneld status works without)"),
    Flag("version", False, "print the version and exit"),
    Flag("v", 0, "verbosity; above 0 every change of a peer is logged"),
    Flag("vmodule", "", "verbosity by file", "klog's file filters do not apply here; use --v"),
    Flag("log_backtrace_at", "", "stack trace at a log line", "klog's traces do not apply here; use --v"),
    # ours
    Flag("instance", DEFAULT, "name of this network, where a host is in several"),
    Flag(
        "state-dir",
        "",
        f"what survives a reboot; by default {Instance().state_dir}, "
        f"with --instance={_EXAMPLE.name} {_EXAMPLE.state_dir}",
    ),
    Flag("log-format", "text", "text, or json: one object per line"),
    Flag(
        "tx-checksum-offload",
        "auto",
        "true or false: let the VXLAN device leave checksums to the network card, or not, for cards that get them "
        "wrong; auto leaves it as the host has it",
    ),
    Flag(
        "udp-datapath",
        "auto",
        "what forwards for the backend udp: kernel, user (this process), or auto: the kernel where it can",
    ),
    Flag(
        "udp-gro",
        "auto",
        "join TCP packets that arrive for the backend udp, where the kernel forwards: auto where it can, or off",
    ),
    Flag(
        "udp-xdp",
        "off",
        "have the network card's driver take in packets for the backend udp (native XDP): off, auto on a network card "
        "of its own, or force on whatever has such a driver",
    ),
    Flag(
        "allow-extension-commands",
        False,
        "run the commands that the network config has for the backend extension, as root: whoever can write to etcd "
        "then commands this host",
    ),
    Flag(
        "keep-source",
        False,
        "keep others, such as podman's netavark, from masquerading what our containers send to other hosts",
    ),
    Flag("kernel-resync", 30, "seconds between full checks of devices, addresses and routes"),
    Flag(
        "store-lost-grace", 600, "seconds for which peers are kept that vanished because etcd lost its data"
    ),
)

_BY_NAME = {flag.name: flag for flag in FLAGS}


@dataclass(frozen=True)
class Options:
    """All settings of one run; seconds unless a name says otherwise."""

    etcd_endpoints: str
    etcd_prefix: str
    etcd_keyfile: str
    etcd_certfile: str
    etcd_cafile: str
    iface: Tuple[str, ...]
    iface_regex: Tuple[str, ...]
    iface_can_reach: str
    etcd_username: str
    etcd_password_file: str
    wireguard_psk_file: str
    ipsec_psk_file: str
    public_ip: str
    public_ipv6: str
    subnet_file: str
    subnet_lease_renew_margin: int
    subnet_lease_ttl: int
    release_on_exit: bool
    ip_masq: bool
    ip_masq_fully_random_disable: bool
    no_masquerade_cidr: Tuple[str, ...]
    firewall: str
    iptables_resync: int
    iptables_forward_rules: bool
    ip_blackhole_route: bool
    healthz_ip: str
    healthz_port: int
    version: bool
    v: int
    instance: str
    state_dir: str
    log_format: str
    tx_checksum_offload: str
    udp_datapath: str
    udp_gro: str
    udp_xdp: str
    allow_extension_commands: bool
    keep_source: bool
    kernel_resync: int
    store_lost_grace: int

    @property
    def endpoints(self) -> Tuple[str, ...]:
        return tuple(part.strip() for part in self.etcd_endpoints.split(",") if part.strip())

    @property
    def store(self) -> StoreOptions:
        password = functools.partial(read_password, self.etcd_password_file) if self.etcd_username else None
        return StoreOptions(
            self.endpoints,
            self.etcd_cafile,
            self.etcd_certfile,
            self.etcd_keyfile,
            username=self.etcd_username,
            password=password,
        )

    @property
    def tx_checksum(self) -> Optional[bool]:
        """None: as the host has it."""
        return None if self.tx_checksum_offload == "auto" else self.tx_checksum_offload == "true"

    @property
    def layout(self) -> Layout:
        return Layout.from_prefix(self.etcd_prefix)

    @property
    def interface(self) -> InterfaceRequest:
        return InterfaceRequest(
            self.iface, self.iface_regex, self.iface_can_reach, self.public_ip, self.public_ipv6
        )


def usage() -> str:
    """The help text, one flag per paragraph, upstream's unbuilt ones left out."""
    lines = [
        "Usage: flanneld [flags]",
        "       flanneld status|check|cleanup|docker-opts|network|dump [--help]",
        "",
        "Each flag can also be given as FLANNELD_<NAME>; a flag wins.",
        "",
    ]
    for flag in FLAGS:
        if not flag.unbuilt:
            default = ",".join(flag.default) if flag.repeatable else flag.default
            shown = str(default).lower() if isinstance(default, bool) else default
            lines += [
                f"  --{flag.name}",
                f"        {flag.help}" + (f" (default {shown})" if shown != "" else ""),
            ]
    return "\n".join(lines) + "\n"


def parse_options(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Settings from the command line, then from FLANNELD_* for flags that were not given. Raises UsageError."""
    given = _parse_arguments(arguments)
    for flag in FLAGS:
        text = environment.get(flag.variable, "")
        if text and flag.name not in given and flag.name != "version":
            given[flag.name] = _convert(flag, text, given, flag.variable)
    for name, value in given.items():
        flag = _BY_NAME[name]
        if flag.unbuilt and value != flag.default:
            raise UsageError(f"flag --{name}", "this agent does not have the feature", flag.unbuilt)
    instance = Instance(given.get("instance", DEFAULT))
    given.setdefault("subnet-file", instance.subnet_file)
    given.setdefault("state-dir", instance.state_dir)
    if given.get("etcd-username"):
        credentials = environment.get("CREDENTIALS_DIRECTORY")
        given.setdefault(
            "etcd-password-file", f"{credentials}/etcd-password" if credentials else instance.password_file
        )
    values = {flag.name.replace("-", "_"): given.get(flag.name, flag.default) for flag in FLAGS}
    options = Options(**{field.name: values[field.name] for field in fields(Options)})
    _check(options)
    return options


def _parse_arguments(arguments: Sequence[str]) -> Dict[str, Any]:
    """Go's rules: one dash or two, `-x=v` or `-x v`, a boolean's value only after `=`."""
    given: Dict[str, Any] = {}
    rest: List[str] = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--" and not rest:
            break
        if not argument.startswith("-") or argument in ("-", "--"):
            raise UsageError(
                f"argument {argument}",
                "flanneld takes flags only",
                "give a value as --flag=value; a boolean needs the '=': --ip-masq=false",
            )
        name, equals, text = argument.lstrip("-").partition("=")
        flag = _find_flag(name)
        if not equals and isinstance(flag.default, bool):
            text = "true"
        elif not equals:
            if not rest:
                raise UsageError(f"flag --{name}", "it needs a value", f"write --{name}=VALUE")
            text = rest.pop(0)
        given[flag.name] = _convert(flag, text, given, f"flag --{name}")
    return given


def _find_flag(name: str) -> Flag:
    if name in _BY_NAME:
        return _BY_NAME[name]
    near = difflib.get_close_matches(name, [flag.name for flag in FLAGS if not flag.unbuilt], 1, 0.5)
    hint = f"did you mean --{near[0]}?" if near else "see flanneld --help"
    raise UsageError(f"flag --{name}", "there is no such flag", hint)


def _convert(flag: Flag, text: str, given: Mapping[str, Any], where: str) -> Any:
    if flag.repeatable:
        return (*given.get(flag.name, ()), text)
    if isinstance(flag.default, bool):
        if text not in TRUE + FALSE:
            raise UsageError(where, f"{text!r} is not a boolean", "use true or false")
        return text in TRUE
    if isinstance(flag.default, int):
        try:
            return int(text, 0)
        except ValueError as error:
            raise UsageError(where, f"{text!r} is not an integer", "use a whole number") from error
    return text


def _check(options: Options) -> None:
    if not 1 <= options.subnet_lease_renew_margin <= 1439:
        raise UsageError(
            "flag --subnet-lease-renew-margin",
            f"{options.subnet_lease_renew_margin} minutes do not fit a lease of 24 hours",
            "use 1 to 1439",
        )
    for name in ("iptables_resync", "kernel_resync", "subnet_lease_ttl"):
        if getattr(options, name) < 1:
            raise UsageError(
                f"flag --{name.replace('_', '-')}", "the period is below one second", "use 1 or more"
            )
    if options.store_lost_grace < 0:
        raise UsageError("flag --store-lost-grace", "it is negative", "use 0 or more seconds")
    if not 0 <= options.healthz_port <= 65535:
        raise UsageError("flag --healthz-port", f"{options.healthz_port} is no port", "use 0 to 65535")
    for name, allowed in (
        ("firewall", ("auto", "iptables", "nftables", "none")),
        ("log_format", ("text", "json")),
        ("tx_checksum_offload", ("auto", "true", "false")),
        ("udp_datapath", ("auto", "kernel", "user")),
        ("udp_gro", ("auto", "off")),
        ("udp_xdp", ("off", "auto", "force")),
    ):
        if getattr(options, name) not in allowed:
            raise UsageError(
                f"flag --{name.replace('_', '-')}",
                f"there is no {getattr(options, name)!r}",
                f"use one of: {', '.join(allowed)}",
            )
    if not re.fullmatch(NAME, options.instance):
        raise UsageError(
            "flag --instance",
            f"{options.instance!r} cannot be part of the names on a host",
            "use a word of at most 12 lower-case letters and digits, and not flanneld",
        )
    if bool(options.etcd_username) != bool(options.etcd_password_file):
        raise UsageError(
            f"flag --etcd-{'username' if options.etcd_username else 'password-file'}",
            "user name and password are needed together, and one is missing",
            "give --etcd-username, and --etcd-password-file or the systemd credential etcd-password",
        )
    if not options.endpoints:
        raise UsageError(
            "flag --etcd-endpoints", "it is empty", "name at least one endpoint: http://192.0.2.1:2379"
        )
    for name, text, parse in (
        ("public-ip", options.public_ip, parse_ipv4),
        ("public-ipv6", options.public_ipv6, parse_ipv6),
        *(("no-masquerade-cidr", text, parse_cidr) for text in options.no_masquerade_cidr),
    ):
        try:
            if text:
                parse(text)
        except AddressError as error:
            raise UsageError(f"flag --{name}", f"{text}: {error.cause}", error.next_step) from error
