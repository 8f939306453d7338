# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel of this host: forwarding, filters, the device, the way to the peers."""

from __future__ import annotations

import re
from typing import Dict, Iterator, List

from ansible_collections.weft.flannel.plugins.module_utils._openings import PROTOCOLS
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family, family_of

from flanneld.backends.vxlan import OVERHEAD, vtep_mac
from flanneld.backends.wireguard_peers import read_data
from flanneld.commands.checks import FAIL, WARN, Check, Finding
from flanneld.commands.facts import Facts
from flanneld.tables.device import Link, OtherLink
from flanneld.tables.route import PROTOCOL_FLANNEL
from flanneld.tables.tun_link import TunLink
from flanneld.tables.vxlan_link import VxlanLink


def check_forwarding(facts: Facts) -> Iterator[Finding]:
    """Hosts reach each other's flannel addresses, containers do not."""
    families = facts.config.families if facts.config is not None else (IPV4,)
    for family, path in ((IPV4, "net/ipv4/ip_forward"), (IPV6, "net/ipv6/conf/all/forwarding")):
        if family in families and facts.sysctls.get(path) != "1":
            name = path.replace("/", ".")
            word = name.rsplit(".", 1)[-1]
            step = f"sysctl -w {name}=1, and find out who turned it off: grep -r {word} /etc/sysctl.d"
            yield Finding(
                FAIL, f"{name} is {facts.sysctls.get(path) or 'not there'}: containers are cut off", step
            )


def check_forward_drops(facts: Facts) -> Iterator[Finding]:
    for cause, step in facts.forward_drops:
        yield Finding(FAIL, cause, step)


def check_br_netfilter(facts: Facts) -> Iterator[Finding]:
    """Upstream: `Failed to check br_netfilter`; its daemon does not start without the module."""
    if facts.sysctls.get("net/bridge/bridge-nf-call-iptables") is None:
        step = "modprobe br_netfilter, and name it in /etc/modules-load.d; upstream and Kubernetes need it"
        yield Finding(WARN, "the module br_netfilter is not loaded", step)


def check_device(facts: Facts) -> Iterator[Finding]:
    for family, name in facts.devices.items():
        link = facts.links.get(name)
        if link is None:
            yield Finding(
                FAIL, f"the device {name} does not exist", "see why the agent cannot make it: flanneld status"
            )
        elif isinstance(link, OtherLink):
            step = f"ip link delete {name}, if nobody needs it: the agent then makes its own"
            yield Finding(FAIL, f"{name} is a {link.kind or 'device'}, which is no kind of ours", step)
        elif not link.up:
            yield Finding(
                FAIL, f"{name} is down", f"the running agent sets it up at once; else: ip link set {name} up"
            )
        elif isinstance(link, TunLink) and link.attached is False:
            step = "start the agent, or see why it does not forward: flanneld status"
            yield Finding(FAIL, f"{name} leads to no process: nothing is forwarded", step)
        elif isinstance(link, VxlanLink):
            yield from _check_mac(facts, family, link)


def _check_mac(facts: Facts, family: Family, link: VxlanLink) -> Iterator[Finding]:
    told = vtep_mac(facts.own_lease, family) if facts.own_lease is not None else None
    if told not in (None, link.mac):
        step = (
            "restart the agent; if it comes back, systemd gives the device another MAC: it needs "
            "/etc/systemd/network/50-flannel.link with MACAddressPolicy=none (the role writes it)"
        )
        yield Finding(FAIL, f"{link.name} has MAC {link.mac}, and our lease tells the others {told}", step)


def check_public_key(facts: Facts) -> Iterator[Finding]:
    """No handshake with anybody: the others encrypt for a key that the device does not have."""
    told = {
        (name, data.public_key): facts.public_keys[name]
        for family, name in facts.devices.items()
        for data in [read_data(facts.own_lease, family) if facts.own_lease is not None else None]
        if data is not None and name in facts.public_keys
    }
    for (name, published), found in told.items():
        if found != published:
            has = f"has the key {found}" if found else "has no key"
            step = (
                "restart the agent, which publishes the key of the device; if it comes back, another program sets "
                f"it (wg-quick, a second flanneld): wg show {name} public-key"
            )
            yield Finding(FAIL, f"{name} {has}, and our lease tells the others {published}", step)


def check_mtu(facts: Facts) -> Iterator[Finding]:
    """Small packets pass, large ones hang."""
    for link in facts.own_devices:
        if isinstance(link, VxlanLink):
            yield from _check_room(facts, link)
        told = (facts.subnet_env or {}).get("FLANNEL_MTU", "")
        if told.isdigit() and int(told) > link.mtu:
            cause = f"{facts.settings.options.subnet_file} says MTU {told}, {link.name} has {link.mtu}"
            yield Finding(FAIL, cause, "restart the agent, then Docker")


def _check_room(facts: Facts, link: VxlanLink) -> Iterator[Finding]:
    underlay = facts.links.get(link.underlay)
    overhead = OVERHEAD[IPV4 if link.local is None else family_of(link.local)]
    if underlay is not None and link.mtu > underlay.mtu - overhead:
        cause = f"{link.name} has MTU {link.mtu}, and {underlay.name} has room for {underlay.mtu - overhead}"
        step = "restart the agent; or set Backend.MTU in the network config to what the path carries"
        yield Finding(FAIL, cause, step)


def check_path(facts: Facts) -> Iterator[Finding]:
    """The same, with an MTU somewhere between the hosts that is smaller than at their ends."""
    if not facts.pings:
        step = "install ping (iputils) and look again; by hand: docs/operations.md"
        yield Finding(WARN, "there is no ping, so the way was not probed", step)
    for probe in facts.probes:
        if probe.small_passes and not probe.large_passes:
            cause = (
                f"{probe.address} of {facts.name_host(probe.key)} answers small packets, but none of "
                f"{probe.size} bytes, which a full packet of a container becomes"
            )
            yield Finding(FAIL, cause, f"let the path carry them, or {_lower_mtu(facts)} to what it carries")


def _lower_mtu(facts: Facts) -> str:
    backend = facts.config.backend if facts.config is not None else None
    if backend is not None and "MTU" in backend.options:
        return "set Backend.MTU in the network config"
    return "lower the MTU of the external interface, on every host,"


def check_checksums(facts: Facts) -> Iterator[Finding]:
    """TCP to services hangs, or takes 63 s, through vxlan: some cards get checksums of encapsulated packets wrong."""
    if facts.settings.options.tx_checksum is not False:
        return
    for name, on in facts.tx_checksum.items():
        if on:
            step = f"restart the agent, or: ethtool -K {name} tx-checksum-ip-generic off"
            yield Finding(
                WARN, f"{name} leaves checksums to the card, though --tx-checksum-offload=false", step
            )


def check_port(facts: Facts) -> Iterator[Finding]:
    """The port of the backend belongs to another program."""
    for port in facts.ports:
        if port in facts.udp_ports and not any(_serves(facts, link, port) for link in facts.links.values()):
            yield Finding(
                FAIL,
                f"UDP port {port} is in use by another program",
                f"see which: ss -lunp sport = :{port}; end it",
            )


def _serves(facts: Facts, link: Link, port: int) -> bool:
    """A device that is up has its port, and two VXLAN devices may share one."""
    if isinstance(link, VxlanLink):
        return link.up and link.port == port
    if isinstance(link, TunLink) and link.attached is False:
        return False
    return link.up and link.name in facts.devices.values() and not isinstance(link, OtherLink)


# What programs call a protocol in a rule. "ipip" is no name of 4: /etc/protocols has it for 94.
_PROTOCOL_NAMES = {4: "ipencap|ipv4", 50: "esp"}


def check_input(facts: Facts) -> Iterator[Finding]:
    """Nothing arrives on UDP 8472, or whatever the backend needs."""
    for opening in facts.openings:
        if opening.port is None:
            number = PROTOCOLS[opening.protocol]
            pattern = rf"(?:-p|protocol|l4proto) (?:{number}|{_PROTOCOL_NAMES[number]})\b"
            option = f"--add-protocol={number}"
        else:
            pattern, option = rf"\b{opening.port}\b", f"--add-port={opening.port}/{opening.protocol}"
        for chain in _find_closed(facts.iptables, facts.nftables, pattern):
            step = f"let {opening} in from the other hosts, such as: firewall-cmd --permanent {option}"
            yield Finding(WARN, f"{chain} drops what it does not know, and no rule names {opening}", step)


def check_fdb(facts: Facts) -> Iterator[Finding]:
    """One peer is out of reach since its reboot: its MAC or address has changed, and we still send to the old one."""
    step = "restart the agent (the data path stays); if it stays so, send flanneld dump"
    for family, device in facts.devices.items():
        entries = {entry.mac: str(entry.destination) for entry in facts.fdb if entry.device == device}
        for lease in facts.store.leases if facts.store is not None else ():
            mac, address = vtep_mac(lease, family), lease.attributes.public_address(family)
            if lease.key == facts.own_key or mac is None or address is None:
                continue
            found = entries.pop(mac, str(address))
            if found != str(address):
                cause = f"{device} sends frames for {facts.name_host(lease.key)} to {found}; its lease says {address}"
                yield Finding(FAIL, cause, step)
        for mac, destination in entries.items():
            cause = f"{device} has an FDB entry {mac} -> {destination}, and no lease says so"
            yield Finding(WARN, cause, step)


def check_own_route(facts: Facts) -> Iterator[Finding]:
    """A route that leads our own subnet elsewhere (what mk-docker-opts.sh of 0.18.0 meant to look for)."""
    subnets = (
        [facts.own_lease.subnets.of(family) for family in (IPV4, IPV6)] if facts.own_lease is not None else []
    )
    for route in facts.routes:
        if route.gateway is not None and route.destination in subnets and route.protocol != PROTOCOL_FLANNEL:
            cause = f"the route {route} leads our own subnet away from this host"
            yield Finding(FAIL, cause, f"remove it: ip route del {route.destination} via {route.gateway}")


def _find_closed(iptables: str, nftables: str, pattern: str) -> List[str]:
    """Chains at the input hook that let nothing in but what they name, and have no rule with the pattern."""
    closed: Dict[str, bool] = {}
    inputs = [line for line in iptables.splitlines() if line.startswith("-A INPUT ")]
    policy = re.search(r"^:INPUT (\S+)", iptables, re.MULTILINE)
    last = inputs[-1] if inputs else ""
    if (policy is not None and policy[1] == "DROP") or re.fullmatch(r"-A INPUT -j (?:DROP|REJECT)\b.*", last):
        closed["iptables INPUT"] = not re.search(pattern, iptables)
    # a chain ends at a brace that has its line to itself: rules have braces, too ("ct state { established, related }")
    for name, body in re.findall(r"^\s*chain (\S+) \{\n(.*?)^\s*\}$", nftables, re.MULTILINE | re.DOTALL):
        lines = [line.strip() for line in body.splitlines()]
        if not any(re.match(r"type filter hook input\b", line) for line in lines):
            continue
        final = re.match(r"(?:counter packets \d+ bytes \d+ )?(?:drop|reject)\b", lines[-1])
        if final or any("policy drop;" in line for line in lines):
            closed.setdefault(f"nftables chain {name}", not re.search(pattern, nftables))
    if "iptables INPUT" in closed:
        closed.pop("nftables chain INPUT", None)  # the same one, seen twice
    return [chain for chain, is_closed in closed.items() if is_closed]


CHECKS = (
    Check("the kernel forwards", check_forwarding),
    Check("no other rule drops what containers send", check_forward_drops),
    Check("br_netfilter", check_br_netfilter),
    Check("the device is ours and has our MAC", check_device),
    Check("the device has the key of our lease", check_public_key, needs_store=True),
    Check("MTU", check_mtu),
    Check("the way to the others carries full packets", check_path, needs_store=True),
    Check("checksum offload", check_checksums),
    Check("the backend's UDP port is free for it", check_port),
    Check("what other hosts send is let in", check_input),
    Check("FDB entries are those of the leases", check_fdb, needs_store=True),
    Check("our own subnet stays here", check_own_route, needs_store=True),
)
