# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster on one machine: network namespaces as hosts, on one switch, with containers behind a bridge.

Nothing here needs root: `enter_private_namespaces` moves the test process into namespaces of its own, where it may
do everything, and which vanish with it.

    198.51.100.1, fd00:198::1 (outside)
         switch 192.0.2.254/24, fd00:192::fe/64 -- etcd
          |                              |
        h1 eth0 192.0.2.1, fd00:192::1   h2 eth0 192.0.2.2, fd00:192::2
        docker0                          docker0
          c1                               c2
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
import uuid
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Type, Union

from tests.support.waiting import PATIENCE

CLONE_NEWNS = 0x00020000  # include/uapi/linux/sched.h
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

UNDERLAY = ip_network("192.0.2.0/24")
SWITCH_ADDRESS = IPv4Address("192.0.2.254")
OUTSIDE_ADDRESS = IPv4Address("198.51.100.1")
UNDERLAY6 = ip_network("fd00:192::/64")
SWITCH_ADDRESS6 = IPv6Address("fd00:192::fe")
OUTSIDE_ADDRESS6 = IPv6Address("fd00:198::1")
FILES = Path("/run/bed")
NODAD = {4: "", 6: " nodad"}
"""What makes `ip addr add` give an address that can be used at once."""

Address = Union[IPv4Address, IPv6Address]
Interface = Union[IPv4Interface, IPv6Interface]

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")


def enter_private_namespaces() -> None:
    """Give this process its own network, its own /run and, unless it is root, its own user namespace.

    Raises OSError where the system forbids unprivileged user namespaces; run the tests as root there.
    """
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | CLONE_NEWNET | (CLONE_NEWUSER if uid else 0)
    _check(_libc.unshare(flags), "unshare (single-threaded process and user namespaces needed, or root)")
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    execute("mount", "--make-rprivate", "/")
    execute("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    execute("ip", "link", "set", "lo", "up")
    Path("/run/netns").mkdir()
    FILES.mkdir()
    # Shared: what a test mounts on a host's directory, the host's programs find there, too.
    execute("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(FILES))
    execute("mount", "--make-shared", str(FILES))


def execute(*argv: str, check: bool = True) -> str:
    """Run a command to its end and return its stdout. Raises AssertionError with its stderr when it fails."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Namespace:
    """One network namespace, with lo up, whose IPv6 addresses can be used at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        execute("ip", "netns", "add", name)
        # Each device would wait a second to learn that nobody else has its link-local address.
        execute("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        self.ip("link set lo up")

    @property
    def prefix(self) -> Tuple[str, ...]:
        """What to put before a command line to run it here."""
        return ("ip", "netns", "exec", self.name)

    def execute(self, *argv: str, check: bool = True) -> str:
        return execute(*self.prefix, *argv, check=check)

    def ip(self, arguments: str) -> str:
        return execute("ip", "-n", self.name, *arguments.split())

    def sysctl(self, name: str, value: int) -> None:
        self.execute("sysctl", "-qw", f"{name}={value}")

    def open_socket(self, kind: socket.SocketKind, version: int = 4, protocol: int = 0) -> socket.socket:
        """A socket for that IP version that lives here: it stays in the namespace of the thread that made it."""
        return self._open(socket.AF_INET if version == 4 else socket.AF_INET6, kind, protocol)

    def open_netlink(self, protocol: int, groups: int) -> socket.socket:
        """A socket that hears what the kernel announces here to those groups."""
        opened = self._open(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        opened.bind((0, groups))
        return opened

    def _open(self, family: int, kind: socket.SocketKind, protocol: int) -> socket.socket:
        made: List[socket.socket] = []

        def make() -> None:
            with Path("/run/netns", self.name).open("rb") as target:
                _check(_libc.setns(target.fileno(), CLONE_NEWNET), f"setns {self.name}")
            made.append(socket.socket(family, kind, protocol))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def delete(self) -> None:
        execute("ip", "netns", "del", self.name)


class Switch(Namespace):
    """The network between the hosts. It has no firewall, and no route to any container."""

    def __init__(self) -> None:
        super().__init__("switch")
        # Without an address of its own a bridge takes the lowest of its ports', and another one with each new host:
        # the others would then talk to nobody until their ARP entries expire.
        self.ip("link add br0 address 02:00:00:00:02:fe type bridge mcast_snooping 0")
        self.ip(f"addr add {SWITCH_ADDRESS}/{UNDERLAY.prefixlen} dev br0")
        self.ip(f"addr add {SWITCH_ADDRESS6}/{UNDERLAY6.prefixlen} dev br0 nodad")
        self.ip(f"addr add {OUTSIDE_ADDRESS}/32 dev lo")
        self.ip(f"addr add {OUTSIDE_ADDRESS6}/128 dev lo")
        self.ip("link set br0 up")

    def plug_in(self, host: Namespace, device: str = "eth0") -> None:
        """Give the host a new device with a cable to this switch."""
        port = host.name if device == "eth0" else f"{host.name}-{device}"
        self.ip(f"link add {port} type veth peer name {device} netns {host.name}")
        self.ip(f"link set {port} master br0 up")


@dataclass(frozen=True)
class Endpoint:
    """A namespace under one of its addresses: where traffic starts or ends."""

    namespace: Namespace
    address: Address

    @property
    def name(self) -> str:
        return f"{self.namespace.name} ({self.address})"

    def open_socket(self, kind: socket.SocketKind, version: int) -> socket.socket:
        return self.namespace.open_socket(kind, version)


class Container(Namespace):
    """A container as Docker attaches it: eth0 on the host's bridge, default routes through the bridge.

    bridges: the addresses of the bridge, of one family or of both; the container gets the `number`th after each.
    port: its device on the bridge.
    """

    def __init__(self, host: Host, number: int, bridges: Sequence[Interface], mtu: int) -> None:
        super().__init__(f"{host.name}-c{number}")
        self._addresses = {bridge.version: bridge.ip + number for bridge in bridges}
        self.port = f"veth{number}"
        host.ip(f"link add {self.port} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {self.name}")
        host.ip(f"link set {self.port} master docker0 up")
        self.ip("link set eth0 up")
        for bridge in bridges:
            address = f"{self._addresses[bridge.version]}/{bridge.network.prefixlen}"
            self.ip(f"addr add {address} dev eth0{NODAD[bridge.version]}")
            self.ip(f"route add default via {bridge.ip}")

    @property
    def address(self) -> IPv4Address:
        address = self._addresses[4]
        assert isinstance(address, IPv4Address)
        return address

    @property
    def over_ipv6(self) -> Endpoint:
        """This container, for traffic over IPv6."""
        return Endpoint(self, self._addresses[6])


class Identifier:
    """What a file of the host says, where its programs look for it; to be assigned for a clone or a reboot."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, host: Host, _kind: Type[Host]) -> str:
        return (FILES / host.name / self._name).read_text().strip()

    def __set__(self, host: Host, value: str) -> None:
        (FILES / host.name / self._name).write_text(f"{value}\n")


class Host(Namespace):
    """A host with its own network, host name, machine id, boot id, /run and /var/lib.

    run_dir, lib_dir: where the test process sees them.
    """

    machine_id = Identifier("machine-id")
    boot_id = Identifier("boot-id")

    def __init__(self, switch: Switch, number: int) -> None:
        super().__init__(f"h{number}")
        self.address = UNDERLAY[number]
        self.address6 = UNDERLAY6[number]
        self.run_dir = FILES / self.name / "run"
        self.lib_dir = FILES / self.name / "lib"
        self.run_dir.mkdir(parents=True)
        self.lib_dir.mkdir()
        self.machine_id = uuid.uuid4().hex
        self.boot_id = str(uuid.uuid4())
        self._holder = self._hold_view()
        self.containers: List[Container] = []
        self.connect(switch)
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)

    def connect(self, switch: Switch) -> None:
        """A new eth0 with this host's addresses, and always the same MAC: the others may still know it."""
        switch.plug_in(self)
        self.ip(f"link set eth0 address 02:00:c0:00:02:{int(self.address) & 0xFF:02x}")
        self.ip(f"addr add {self.address}/{UNDERLAY.prefixlen} dev eth0")
        self.ip("link set eth0 up")
        self.add_default_route()

    def add_default_route(self) -> None:
        """The kernel drops it with the link, and IPv6 addresses too; a real host's network manager puts them back."""
        self.ip(f"addr replace {self.address6}/{UNDERLAY6.prefixlen} dev eth0 nodad")
        self.ip(f"route replace default via {SWITCH_ADDRESS}")
        self.ip(f"route replace default via {SWITCH_ADDRESS6}")

    def _hold_view(self) -> subprocess.Popen[str]:
        """Make what the host's programs see, once, because in an emulated machine it takes a second, and keep it."""
        files = FILES / self.name
        steps = (
            f"hostname {self.name}",
            f"mount --bind {files / 'machine-id'} /etc/machine-id",
            f"mount --bind {files / 'boot-id'} /proc/sys/kernel/random/boot_id",
            f"mount --bind {self.lib_dir} /var/lib",
            f"mount --bind {self.run_dir} /run",
            "echo done",
            # setpriv: it dies with the test process, however that ends.
            "exec setpriv --pdeathsig KILL -- sleep infinity",
        )
        inside = ("unshare", "--mount", "--uts", "--propagation=slave", "--", "sh", "-ec", "\n".join(steps))
        holder = subprocess.Popen(
            (*super().prefix, *inside), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "done\n", f"{self.name} was not made"
        return holder

    @property
    def _entrance(self) -> Tuple[str, ...]:
        return ("nsenter", f"--target={self._holder.pid}", "--net", "--mount", "--uts", "--")

    @property
    def prefix(self) -> Tuple[str, ...]:
        # unshare: what a program mounts is its own. setpriv: a daemon started here dies with the test process.
        return (*self._entrance, "unshare", "--mount", "--", "setpriv", "--pdeathsig", "KILL", "--")

    def execute(self, *argv: str, check: bool = True) -> str:
        return execute(*self._entrance, *argv, check=check)

    @property
    def subnet_file(self) -> Path:
        return self.run_dir / "flannel" / "subnet.env"

    @property
    def subnet_env(self) -> Dict[str, str]:
        return dict(line.split("=", 1) for line in self.subnet_file.read_text().splitlines())

    @property
    def bridge_address(self) -> IPv4Interface:
        interface = ip_interface(self.subnet_env["FLANNEL_SUBNET"])
        assert isinstance(interface, IPv4Interface)
        return interface

    @property
    def bridge_address6(self) -> IPv6Interface:
        interface = ip_interface(self.subnet_env["FLANNEL_IPV6_SUBNET"])
        assert isinstance(interface, IPv6Interface)
        return interface

    @property
    def subnet(self) -> IPv4Network:
        return self.bridge_address.network

    @property
    def subnet6(self) -> IPv6Network:
        return self.bridge_address6.network

    def add_container(self, mtu: Optional[int] = None) -> Container:
        """What Docker does with subnet.env: docker0 with --bip and --mtu, and a container on it.

        The bridge and the new container have what subnet.env says now; containers that stand stay as they are.
        mtu: of the container's eth0, when it is not to be FLANNEL_MTU.
        """
        env = self.subnet_env
        overlay_mtu = int(env["FLANNEL_MTU"])
        bridges = [ip_interface(env[key]) for key in ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET") if key in env]
        if not self.containers:
            self.ip(f"link add docker0 address 02:42:00:00:00:01 mtu {overlay_mtu} type bridge")
            self.ip("link set docker0 up")
        for bridge in bridges:
            self.ip(f"addr replace {bridge} dev docker0{NODAD[bridge.version]}")
        container = Container(self, len(self.containers) + 1, bridges, mtu or overlay_mtu)
        self.containers.append(container)
        return container

    def take_off_bridge(self, container: Container) -> None:
        """Its packets are routed to and from its device, as some network plugins have it, and pass no bridge."""
        port, gateway = container.port, self.bridge_address.ip
        self.ip(f"link set {port} nomaster")
        self.ip(f"route add {container.address} dev {port}")
        self.sysctl(f"net.ipv4.conf.{port}.proxy_arp", 1)
        container.ip(f"route replace default via {gateway} dev eth0")

    def describe(self) -> str:
        """All the kernel state a failed test may be explained by."""
        commands: Sequence[Tuple[str, ...]] = (
            ("ip", "-d", "link"),
            ("ip", "addr"),
            ("bridge", "fdb"),
            ("ip", "neigh"),
            ("ip", "route"),
            ("ip", "-6", "route"),
            ("iptables-save",),
            ("ip6tables-save",),
            ("nft", "list", "ruleset"),
        )
        return "\n".join(
            f"$ {' '.join(command)}\n{self.execute(*command, check=False)}" for command in commands
        )

    def delete(self) -> None:
        for container in self.containers:
            container.delete()
        with self._holder:
            self._holder.kill()
        super().delete()
        shutil.rmtree(FILES / self.name)
