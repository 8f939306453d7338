# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Stands a probe on this host, asks it, and takes it away.

All of a probe hangs on one process: its network namespace has no name, so that the kernel takes the namespace away with
the process, and with it both ends of the veth, their addresses, routes and neighbours. Nothing is left by a failure, a
kill or a play that was aborted, and no file says where the probe is: it is asked at an abstract socket, which goes
with the process too.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Dict, List, Mapping, NoReturn, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._probe import (
    HEADERS,
    PORT,
    SMALLEST_MTU,
    Answer,
    Bridge,
    Peer,
    Place,
    ProbeError,
    Question,
    Reply,
    Subnet,
    decode_question,
    decode_reply,
    find_bridge,
    largest_that_passes,
    list_candidates,
    read_peers,
    read_subnets,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import Address

# include/uapi/linux: sched.h, in.h, in6.h, if_ether.h, if_arp.h
_CLONE_NEWNET = 0x40000000
_MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
# Set DF, and do not believe what path MTU discovery has found before.
_PMTUDISC_PROBE = 3
_ETH_P_ARP = 0x0806
_ARP_PAYLOAD = struct.Struct("!HHBBH6s4s6s4s")

# Of one set-up, in seconds: duplicate address detection takes about two.
_SET_UP_TIMEOUT = 60.0
# Until the kernel has taken a namespace away, in seconds.
_REMOVAL_TIMEOUT = 30.0
_ROUND_TRIPS = 5
# Questions that are out at one time. More would be measured against each other.
_THREADS = 64
# Who asks from the host itself; what it asks is not remembered.
_NOBODY = "0" * 32
# The gateway of a probe without a bridge. It is on no host: the neighbour entry says where it goes.
_GATEWAYS = {4: "169.254.1.1", 6: "fe80::1"}

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise ProbeError(what, os.strerror(code), "run it as root, on a host with network namespaces")


def _enter(namespace: int) -> None:
    """Move the calling thread."""
    _check(_libc.setns(namespace, _CLONE_NEWNET), "network namespace")


def run_ip(arguments: str, namespace: Optional[int] = None) -> str:
    """What `ip` prints. namespace: where, if not here. Raises ProbeError with what it says when it fails."""
    # The PATH of an ordinary user often lacks /sbin.
    path = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise ProbeError("command ip", "the host does not have it", "install iproute2")
    done = subprocess.run(
        [path, *arguments.split()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SET_UP_TIMEOUT,
        preexec_fn=None if namespace is None else lambda: _enter(namespace),
    )
    if done.returncode != 0:
        raise ProbeError(
            f"command ip {arguments}",
            done.stderr.strip() or f"it ended with status {done.returncode}",
            "run it as root, with iproute2 5.10 or later",
        )
    return done.stdout


@dataclass(frozen=True)
class Standing:
    """A probe that stands, or, in check mode, where it would stand."""

    id: str
    places: Tuple[Place, ...]

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Standing:
        return cls(
            message["id"],
            tuple(
                Place(ip_address(item["address"]), item["mtu"], item["bridge"]) for item in message["places"]
            ),
        )

    def as_message(self) -> Dict[str, Any]:
        return {
            "id": self.id,
            "places": [
                {"address": str(place.address), "mtu": place.mtu, "bridge": place.bridge}
                for place in self.places
            ],
        }


# ---- from the module's side


def read_subnet_file(path: str) -> Tuple[Subnet, ...]:
    """The subnets of this host. Raises ProbeError."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ProbeError(
            path, error.strerror or str(error), "start flanneld; it writes the file when it has a subnet"
        ) from error
    return read_subnets(path, text)


def plan_probe(subnets: Tuple[Subnet, ...]) -> Standing:
    """Where a probe would stand, before anybody has been asked for the addresses. Raises ProbeError."""
    links = run_ip("-j -d address show")
    return Standing("", tuple(_plan_place(subnet, links) for subnet in subnets))


def _plan_place(subnet: Subnet, links: str) -> Place:
    candidates = list_candidates(subnet)
    if not candidates:
        raise _no_free_address(subnet)
    bridge = usable_bridge(subnet, links)
    return Place(candidates[0], subnet.mtu, bridge.name if bridge else None)


def usable_bridge(subnet: Subnet, links: str) -> Optional[Bridge]:
    """The container bridge, None if there is none. Raises ProbeError if it is down."""
    bridge = find_bridge(subnet, links)
    if bridge is not None and not bridge.is_up:
        raise ProbeError(
            f"bridge {bridge.name}", "it is down, and its containers with it", f"ip link set {bridge.name} up"
        )
    return bridge


def _no_free_address(subnet: Subnet) -> ProbeError:
    return ProbeError(
        f"subnet {subnet.gateway.network}",
        "none of its highest addresses is free for the probe",
        "remove a container, or have longer subnets",
    )


def find_probe(subnet_file: str) -> Optional[Standing]:
    """The probe that stands for this subnet.env, None if there is none. Raises ProbeError if it does not answer."""
    message = _call_if_there(subnet_file, {"do": "describe"})
    return None if message is None else Standing.from_message(message)


def start_probe(subnet_file: str, subnets: Tuple[Subnet, ...], lifetime: int) -> Standing:
    """Stand a probe, which goes by itself after so many seconds. Raises ProbeError, and then nothing is left."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        _run_probe(theirs, subnet_file, subnets, lifetime)
    theirs.close()
    with ours:
        ours.settimeout(_SET_UP_TIMEOUT)
        try:
            message = _receive(ours)
        except OSError as error:
            # The other end finds this one closed, and ends too.
            raise ProbeError("probe", f"it did not come up: {error}", "see: journalctl -k") from error
    return Standing.from_message(_raise_if_failed(message))


def renew_probe(subnet_file: str, lifetime: int) -> None:
    """Have the probe that stands go by itself only after so many seconds from now. Raises ProbeError."""
    _call_if_there(subnet_file, {"do": "renew", "lifetime": lifetime})


def ask_probe(subnet_file: str, question: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The answers of all peers, as Answer.as_result has them. Raises ProbeError if no probe stands."""
    message = _call_if_there(subnet_file, {"do": "ask", **question})
    if message is None:
        raise ProbeError(
            "probe",
            "none stands on this host, or its lifetime is over",
            "stand one with weft.flannel.flannel_probe",
        )
    answers: List[Dict[str, Any]] = message["answers"]
    return answers


def stop_probe(subnet_file: str) -> Optional[List[Dict[str, Any]]]:
    """Take the probe away; what it has heard, None if there was none. Raises ProbeError if it stays."""
    message = _call_if_there(subnet_file, {"do": "stop"})
    if message is None:
        return None
    _wait_for_removal(message["devices"])
    # What the host has learned of the addresses goes by itself within minutes, but the next container with such an
    # address would be looked for at the wrong device until then.
    for place in Standing.from_message(message).places:
        if place.bridge is not None:
            with suppress(ProbeError):
                run_ip(f"neighbour del {place.address} dev {place.bridge}")
    heard: List[Dict[str, Any]] = message["heard"]
    return heard


def _wait_for_removal(devices: List[str]) -> None:
    """The kernel takes a namespace away some time after its last process."""
    deadline = time.monotonic() + _REMOVAL_TIMEOUT
    for device in devices:
        while Path("/sys/class/net", device).exists():
            if time.monotonic() > deadline:
                raise ProbeError(
                    f"device {device}", "the kernel has not removed it", f"ip link delete {device}"
                )
            time.sleep(0.05)


def _socket_address(subnet_file: str) -> str:
    return f"\0weft.flannel.probe:{subnet_file}"


def _call_if_there(subnet_file: str, message: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """What the probe answers, None if there is none. Raises ProbeError."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(_socket_address(subnet_file))
        except ConnectionRefusedError:
            return None
        if _peer_user(client) != os.geteuid():
            raise ProbeError(
                "probe", "the process that answers as one is another user's", "look for it: ss -xlp"
            )
        try:
            client.sendall(json.dumps(message).encode())
            client.shutdown(socket.SHUT_WR)
            return _raise_if_failed(_receive(client))
        except OSError as error:
            raise ProbeError(
                "probe", f"it ended before it answered: {error}", "run the play again"
            ) from error


def _peer_user(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _receive(connection: socket.socket) -> Dict[str, Any]:
    """One message, which ends with the connection. Raises OSError where none comes."""
    text = b""
    while chunk := connection.recv(1 << 16):
        text += chunk
    if not text:
        raise ConnectionResetError("nothing came")
    message: Dict[str, Any] = json.loads(text)
    return message


def _raise_if_failed(message: Dict[str, Any]) -> Dict[str, Any]:
    if "error" in message:
        raise ProbeError(*message["error"])
    return message


# ---- the process


def _run_probe(
    parent: socket.socket, subnet_file: str, subnets: Tuple[Subnet, ...], lifetime: int
) -> NoReturn:
    """Be the probe, to the end of this process, whatever happens in it."""
    try:
        # Whatever hangs: the kernel ends it, and takes everything away.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(lifetime)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.closerange(3, parent.fileno())
        os.closerange(parent.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        with suppress(OSError), parent:
            try:
                probe = _Probe(subnet_file, subnets)
            except ProbeError as error:
                parent.sendall(json.dumps({"error": error.args}).encode())
                os._exit(1)
            parent.sendall(json.dumps(probe.standing.as_message()).encode())
            parent.shutdown(socket.SHUT_WR)
            probe.serve()
    finally:
        # Never back into the module.
        os._exit(0)


@dataclass
class _Heard:
    """What came from one other probe in one family."""

    packets: int = 0
    largest: int = 0
    sources: List[str] = field(default_factory=list)


class _Probe:
    """What the process holds; made when it stands. Raises ProbeError."""

    def __init__(self, subnet_file: str, subnets: Tuple[Subnet, ...]) -> None:
        self._host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        # Made here, so that it is the host's, and reached by modules that run there.
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listener.bind(_socket_address(subnet_file))
        except OSError as error:
            raise ProbeError("probe", "another play is just standing one here", "wait for its end") from error
        self._listener.listen()
        _check(_libc.unshare(_CLONE_NEWNET), "network namespace")
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        run_ip("link set lo up")
        self._devices: List[str] = []
        links = run_ip("-j -d address show", self._host)
        places = tuple(self._attach(subnet, usable_bridge(subnet, links)) for subnet in subnets)
        self.standing = Standing(os.urandom(16).hex(), places)
        self._heard: Dict[Tuple[str, int], _Heard] = {}
        for place in places:
            server = socket.socket(_socket_family(place.address), socket.SOCK_DGRAM)
            server.bind((str(place.address), PORT))
            threading.Thread(target=self._answer, args=(server, place.address.version), daemon=True).start()

    # -- attach, as Docker attaches a container

    def _attach(self, subnet: Subnet, bridge: Optional[Bridge]) -> Place:
        version = subnet.gateway.version
        inside, outside = f"eth{version}", f"vethprobe{version}{random.SystemRandom().randrange(16**5):05x}"
        # Not the lowest of the bridge's ports, or a bridge without an address of its own would take it; and given
        # from the start, or udev would give another.
        macs = [f"{first}:" + ":".join(f"{byte:02x}" for byte in os.urandom(5)) for first in ("fe", "0a")]
        run_ip(
            f"link add {outside} mtu {subnet.mtu} address {macs[0]} type veth"
            f" peer name {inside} mtu {subnet.mtu} address {macs[1]} netns {os.getpid()}",
            self._host,
        )
        self._devices.append(outside)
        if bridge is not None:
            run_ip(f"link set {outside} master {bridge.name}", self._host)
        run_ip(f"link set {outside} up", self._host)
        run_ip(f"link set {inside} up")
        if bridge is None:
            address = self._take_route(subnet, outside, macs)
        elif version == 4:
            address = self._take_by_arp(subnet, bytes.fromhex(macs[1].replace(":", "")))
        else:
            address = self._take_by_nd(subnet)
        return Place(address, subnet.mtu, bridge.name if bridge else None)

    def _take_by_arp(self, subnet: Subnet, mac: bytes) -> Address:
        for address in list_candidates(subnet):
            if not _is_taken_by_arp("eth4", mac, address.packed):
                run_ip(f"address add {address}/{subnet.gateway.network.prefixlen} dev eth4")
                run_ip(f"route add default via {subnet.gateway.ip} dev eth4")
                return address
        raise _no_free_address(subnet)

    def _take_by_nd(self, subnet: Subnet) -> Address:
        for address in list_candidates(subnet):
            run_ip(f"address add {address}/{subnet.gateway.network.prefixlen} dev eth6")
            if _wait_for_dad(str(address)):
                run_ip(f"route add default via {subnet.gateway.ip} dev eth6")
                return address
            run_ip(f"address del {address}/{subnet.gateway.network.prefixlen} dev eth6")
        raise _no_free_address(subnet)

    def _take_route(self, subnet: Subnet, outside: str, macs: List[str]) -> Address:
        """An address of its own, with a route to it on the host; all of that hangs on the veth."""
        version, length = subnet.gateway.version, subnet.family.host_prefix
        for address in list_candidates(subnet):
            route = f"-{version} route add {address}/{length} dev {outside}"
            try:
                run_ip(route, self._host)
            except ProbeError as error:
                if "File exists" in error.cause:
                    continue
                raise
            run_ip(f"neighbour add {address} lladdr {macs[1]} dev {outside} nud permanent", self._host)
            gateway = _GATEWAYS[version]
            run_ip(f"address add {address}/{length} dev eth{version}" + (" nodad" if version == 6 else ""))
            run_ip(f"neighbour add {gateway} lladdr {macs[0]} dev eth{version} nud permanent")
            run_ip(f"-{version} route add default via {gateway} dev eth{version} onlink")
            return address
        raise _no_free_address(subnet)

    # -- answer other probes

    def _answer(self, server: socket.socket, version: int) -> None:
        while True:
            # Also where the way back is refused: the next one may come from another.
            with suppress(OSError):
                payload, source = server.recvfrom(1 << 16)
                question = decode_question(payload)
                if question is not None:
                    self._remember(question, version, len(payload), source[0])
                    reply = Reply(self.standing.id, question.number, len(payload), source[0])
                    server.sendto(reply.encode(), source)

    def _remember(self, question: Question, version: int, size: int, source: str) -> None:
        # Bounded: anybody in the container network may send.
        if question.sender == _NOBODY or len(self._heard) > 1 << 14:
            return
        heard = self._heard.setdefault((question.sender, version), _Heard())
        heard.packets += 1
        heard.largest = max(heard.largest, size + HEADERS[version])
        if source not in heard.sources and len(heard.sources) < 8:
            heard.sources.append(source)

    # -- serve the modules

    def serve(self) -> None:
        """Do what modules ask for, one after the other, until one says stop."""
        while True:
            connection, _address = self._listener.accept()
            with connection, suppress(OSError):
                if _peer_user(connection) != os.geteuid():
                    continue
                message = _receive(connection)
                connection.sendall(json.dumps(self._do(message)).encode())
                if message["do"] == "stop":
                    return

    def _do(self, message: Mapping[str, Any]) -> Dict[str, Any]:
        if message["do"] == "ask":
            peers = read_peers(message["peers"])
            return {"answers": [answer.as_result() for answer in self._ask(peers, message)]}
        if message["do"] == "renew":
            signal.alarm(message["lifetime"])
        described = self.standing.as_message()
        if message["do"] == "stop":
            described["devices"] = self._devices
            described["heard"] = [
                {
                    "id": sender,
                    "family": f"ipv{version}",
                    "packets": heard.packets,
                    "largest": heard.largest,
                    "seen_as": heard.sources,
                }
                for (sender, version), heard in self._heard.copy().items()
            ]
        return described

    def _ask(self, peers: Tuple[Peer, ...], patience: Mapping[str, Any]) -> List[Answer]:
        asker = _Asker(self.standing.id, patience["timeout"], patience["tries"])
        with ThreadPoolExecutor(_THREADS) as pool:
            answers = list(pool.map(lambda peer: self._ask_peer(asker, peer), peers))
        # One after the other, and when nothing else is on the way.
        return [
            asker.time(answer, peer) if answer.reached else answer for answer, peer in zip(answers, peers)
        ]

    def _ask_peer(self, asker: _Asker, peer: Peer) -> Answer:
        version = peer.address.version
        own = next((place for place in self.standing.places if place.address.version == version), None)
        if own is None:
            return Answer(
                peer.name,
                f"ipv{version}",
                False,
                "",
                "",
                None,
                0,
                peer.mtu,
                None,
                f"no IPv{version} subnet here",
            )
        answer = asker.ask(peer, min(own.mtu, peer.mtu))
        if answer.reached:
            return answer
        return asker.ask_from_host(peer, answer, self._open_on_host(peer))

    def _open_on_host(self, peer: Peer) -> socket.socket:
        """A socket of the host's own; a socket stays in the namespace it was made in."""
        _enter(self._host)
        try:
            return socket.socket(_socket_family(peer.address), socket.SOCK_DGRAM)
        finally:
            _enter(self._own)


@dataclass(frozen=True)
class _Asker:
    """Asks other probes under an id. timeout: seconds that one answer may take; tries: of each question."""

    id: str
    timeout: float
    tries: int

    def ask(self, peer: Peer, mtu: int) -> Answer:
        """Whether it answers, and how much passes on the way there; not yet how fast."""
        version = peer.address.version
        with socket.socket(_socket_family(peer.address), socket.SOCK_DGRAM) as client:
            client.setsockopt(*_MTU_DISCOVER[version], _PMTUDISC_PROBE)
            reply, error = self._exchange(client, peer, self.id, 0)
            passing = self._find_mtu(client, peer, mtu) if reply is not None else 0
        return Answer(
            peer=peer.name,
            family=f"ipv{version}",
            reached=reply is not None,
            answered_by=reply.sender if reply else "",
            seen_as=reply.seen_as if reply else "",
            round_trip=None,
            mtu=passing,
            mtu_wanted=mtu,
            host_reached=None,
            error=error,
        )

    def _find_mtu(self, client: socket.socket, peer: Peer, mtu: int) -> int:
        search = largest_that_passes(SMALLEST_MTU[peer.address.version], mtu)
        size = next(search)
        while True:
            reply, _error = self._exchange(client, peer, self.id, size - HEADERS[peer.address.version])
            try:
                size = search.send(reply is not None)
            except StopIteration as end:
                return int(end.value)

    def ask_from_host(self, peer: Peer, answer: Answer, client: socket.socket) -> Answer:
        """The same answer, and whether the host itself gets one."""
        with client:
            reply, _error = self._exchange(client, peer, _NOBODY, 0)
        return Answer(**{**vars(answer), "host_reached": reply is not None})

    def time(self, answer: Answer, peer: Peer) -> Answer:
        """The same answer, with the shortest of a few round trips."""
        best: Optional[float] = None
        with socket.socket(_socket_family(peer.address), socket.SOCK_DGRAM) as client:
            for _trip in range(_ROUND_TRIPS):
                start = time.perf_counter()
                reply, _error = self._exchange(client, peer, self.id, 0)
                if reply is None:
                    break
                taken = time.perf_counter() - start
                best = taken if best is None else min(best, taken)
        return Answer(**{**vars(answer), "round_trip": best})

    def _exchange(
        self, client: socket.socket, peer: Peer, sender: str, size: int
    ) -> Tuple[Optional[Reply], str]:
        """The reply to a question of so many bytes of payload, or None and what the kernel said about it."""
        error = ""
        with suppress(OSError):
            client.connect((str(peer.address), PORT))
        for _try in range(self.tries):
            number = random.SystemRandom().randrange(1 << 32)
            deadline = time.monotonic() + self.timeout
            try:
                client.send(Question(sender, number).encode(size))
                while (left := deadline - time.monotonic()) > 0:
                    client.settimeout(left)
                    reply = decode_reply(client.recv(1 << 16))
                    if reply is not None and reply.number == number:
                        return reply, ""
            except socket.timeout:
                continue
            except OSError as failure:
                # Known at once: too long for the device, no route, or somebody on the way refused it.
                error = os.strerror(failure.errno or 0)
        return None, error


def _socket_family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _is_taken_by_arp(device: str, mac: bytes, address: bytes) -> bool:
    """Duplicate address detection (RFC 5227), short: those who might have it are on this host."""
    request = _ARP_PAYLOAD.pack(1, 0x0800, 6, 4, 1, mac, bytes(4), bytes(6), address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP)) as wire:
        wire.bind((device, _ETH_P_ARP))
        for _probe in range(3):
            wire.send(b"\xff" * 6 + mac + struct.pack("!H", _ETH_P_ARP) + request)
            deadline = time.monotonic() + 0.3
            while (left := deadline - time.monotonic()) > 0:
                wire.settimeout(left)
                try:
                    frame = wire.recv(2048)
                except socket.timeout:
                    break
                if len(frame) < 14 + _ARP_PAYLOAD.size:
                    continue
                *_types, sender, sender_ip, _target, target_ip = _ARP_PAYLOAD.unpack_from(frame, 14)
                # Somebody has it, or looks at the same time whether it is free.
                if sender != mac and (
                    sender_ip == address or (sender_ip == bytes(4) and target_ip == address)
                ):
                    return True
    return False


def _wait_for_dad(address: str) -> bool:
    """Whether the kernel has found the address free. Raises ProbeError if it cannot tell."""
    deadline = time.monotonic() + _SET_UP_TIMEOUT / 2
    while time.monotonic() < deadline:
        for link in json.loads(run_ip("-j -6 address show dev eth6")):
            for item in link.get("addr_info", ()):
                if item.get("local") == address:
                    if item.get("dadfailed"):
                        return False
                    if not item.get("tentative"):
                        return True
        time.sleep(0.1)
    raise ProbeError(f"address {address}", "the kernel does not say whether it is free", "see: ip -6 address")
