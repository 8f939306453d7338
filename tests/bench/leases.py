# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters of thousands that are only leases: what etcd has of hosts that nobody started."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from typing import List, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._etcd import load_library
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Layout,
    Subnets,
    format_value,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue

NETWORK = "10.0.0.0/8"
PUBLIC = IPv4Network("198.18.0.0/15")
"""Where their public IPs are: of the same link as the host that is measured, as host-gw needs it."""
ON_LINK = f"{PUBLIC[1]}/{PUBLIC.prefixlen}"
"""The address that makes it so."""

_FIRST_SUBNET = int(IPv4Address("10.64.0.0"))
_AT_ONCE = 100
"""Writes in one transaction; etcd takes 128."""


def make_config(backend: str) -> str:
    """Hosts that are started lease below those that are only written."""
    return json.dumps(
        {"Network": NETWORK, "SubnetLen": 24, "SubnetMax": "10.63.255.0", "Backend": {"Type": backend}}
    )


def make_subnet(number: int) -> IPv4Network:
    """Of the host with that number, from 0."""
    return IPv4Network((_FIRST_SUBNET + number * 256, 24))


def make_value(number: int, backend: str) -> bytes:
    """What its lease says."""
    data = None
    if backend == "vxlan":
        mac = "02:01:" + (number + 1).to_bytes(4, "big").hex(":")
        data = json.dumps({"VNI": 1, "VtepMAC": mac}, separators=(",", ":"))
    return format_value(Attributes(PUBLIC[number + 256], None, backend, data)).encode()


def make_item(layout: Layout, number: int, backend: str) -> KeyValue:
    """As etcd would list it."""
    key = layout.subnet_key(Subnets(make_subnet(number)))
    return KeyValue(key, make_value(number, backend), 100 + number, 100 + number, 1, 7)


class Writer:
    """Writes leases faster than hosts would: many in a transaction."""

    def __init__(self, endpoint: str) -> None:
        library = load_library()
        self._rpc = library.rpc
        self._channel = library.grpc.insecure_channel(endpoint.split("://", 1)[1])
        self._kv = library.rpc.KVStub(self._channel)

    def put(self, key: str, value: bytes) -> None:
        self.write([(key, value)])

    def delete(self, key: str) -> None:
        self._kv.DeleteRange(self._rpc.DeleteRangeRequest(key=key.encode()))

    def write(self, pairs: List[Tuple[str, bytes]]) -> None:
        """Put all, in the order given."""
        for start in range(0, len(pairs), _AT_ONCE):
            operations = [
                self._rpc.RequestOp(request_put=self._rpc.PutRequest(key=key.encode(), value=value))
                for key, value in pairs[start : start + _AT_ONCE]
            ]
            self._kv.Txn(self._rpc.TxnRequest(success=operations))

    def exchange(self, layout: Layout, backend: str, gone: Sequence[int], come: Sequence[int]) -> None:
        """Leases of some hosts end and those of others begin, in one revision."""
        rpc = self._rpc
        operations = [
            rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=_key(layout, number)))
            for number in gone
        ]
        operations += [
            rpc.RequestOp(
                request_put=rpc.PutRequest(key=_key(layout, number), value=make_value(number, backend))
            )
            for number in come
        ]
        self._kv.Txn(rpc.TxnRequest(success=operations))

    def fill(self, layout: Layout, backend: str, hosts: int) -> None:
        """A network with so many leases."""
        self.put(layout.config, make_config(backend).encode())
        self.write([(_key(layout, number).decode(), make_value(number, backend)) for number in range(hosts)])

    def close(self) -> None:
        self._channel.close()


def _key(layout: Layout, number: int) -> bytes:
    return layout.subnet_key(Subnets(make_subnet(number))).encode()
