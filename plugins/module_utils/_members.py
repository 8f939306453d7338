# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The members of an etcd cluster: who they are, how they are, and when their number may change.

Source: etcd's design of runtime reconfiguration, https://etcd.io/docs/v3.5/op-guide/runtime-configuration/
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any, Dict, FrozenSet, Iterator, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    MemberError,
    StoreAuthError,
    StoreError,
)
from ansible_collections.weft.flannel.plugins.module_utils._etcd import EtcdStore, load_library
from ansible_collections.weft.flannel.plugins.module_utils._store import StoreOptions


@dataclass(frozen=True)
class Member:
    """One member as the cluster lists it.

    name: "" until it has started for the first time; client_urls are empty until then as well.
    """

    id: int
    name: str
    peer_urls: FrozenSet[str]
    client_urls: Tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name or '(not started yet)'} {' '.join(sorted(self.peer_urls))}"


@dataclass(frozen=True)
class MemberHealth:
    """What one member says of itself when it is asked alone.

    error: why it could not be asked, or cannot serve; "" for a healthy one.
    leader: the id of the leader that it follows, 0 for none.
    version, db_size: of its etcd, and of its database in bytes; "" and 0 when it does not answer.
    sees: the ids of the members that it lists.
    """

    member: Member
    error: str
    leader: int = 0
    version: str = ""
    db_size: int = 0
    sees: FrozenSet[int] = frozenset()

    @property
    def healthy(self) -> bool:
        return not self.error


@dataclass(frozen=True)
class ClusterHealth:
    """All members of one cluster, by name."""

    cluster_id: int
    members: Tuple[MemberHealth, ...]

    @property
    def leader(self) -> Optional[Member]:
        """The one leader; None when there is none or the healthy members follow different ones."""
        followed = {health.leader for health in self.members if health.healthy}
        return next((health.member for health in self.members if {health.member.id} == followed), None)

    @property
    def agreed(self) -> bool:
        """Whether all are healthy, list the same members and follow one leader that is among them."""
        everybody = {health.member.id for health in self.members}
        return self.leader is not None and all(h.healthy and h.sees == everybody for h in self.members)


class EtcdCluster(EtcdStore):
    """The membership calls of etcd. One belongs to one thread, like every store.

    Every call may raise StoreUnavailable, StoreTLSError, StoreAuthError; add, update and remove MemberError as well.
    """

    def list_members(self) -> Tuple[int, Tuple[Member, ...]]:
        """The id of the cluster and its members, by name and peer URL."""
        rpc = self._library.rpc
        answer = self._call(
            "etcd members",
            lambda c: rpc.ClusterStub(c).MemberList(rpc.MemberListRequest(), timeout=self._timeout),
        )
        return answer.header.cluster_id, tuple(sorted(map(_member, answer.members), key=str))

    def add_member(self, peer_urls: Sequence[str]) -> Member:
        """Make room for a member; from now on it counts for the quorum, started or not."""
        rpc = self._library.rpc
        request = rpc.MemberAddRequest(peerURLs=sorted(peer_urls))
        subject = f"etcd member at {', '.join(sorted(peer_urls))}"
        answer = self._call(subject, lambda c: rpc.ClusterStub(c).MemberAdd(request, timeout=self._timeout))
        return _member(answer.member)

    def update_member(self, member: Member, peer_urls: Sequence[str]) -> None:
        """Tell the cluster that a member is reached at other URLs; it has to be restarted to listen there."""
        rpc = self._library.rpc
        request = rpc.MemberUpdateRequest(ID=member.id, peerURLs=sorted(peer_urls))
        self._call(
            f"etcd member {member}",
            lambda c: rpc.ClusterStub(c).MemberUpdate(request, timeout=self._timeout),
        )

    def remove_member(self, member: Member) -> None:
        """Take a member out for good: its data directory is of no use to this cluster any more."""
        rpc = self._library.rpc
        request = rpc.MemberRemoveRequest(ID=member.id)
        self._call(
            f"etcd member {member}",
            lambda c: rpc.ClusterStub(c).MemberRemove(request, timeout=self._timeout),
        )

    def read_status(self) -> Any:
        """The answer of the one member that is connected; it needs no quorum for it."""
        rpc = self._library.rpc
        return self._call(
            "etcd status",
            lambda c: rpc.MaintenanceStub(c).Status(rpc.StatusRequest(), timeout=self._timeout),
        )

    def save_snapshot(self) -> Iterator[bytes]:
        """The whole database in pieces, as one member has it; the last 32 bytes are its SHA-256, as
        `etcdctl snapshot restore` wants it."""
        rpc = self._library.rpc
        connection = self._connect()
        try:
            if self._username and connection.token is None:
                connection.token = self._log_in(connection)
            for answer in rpc.MaintenanceStub(connection).Snapshot(rpc.SnapshotRequest()):
                yield answer.blob
        except self._library.grpc.RpcError as error:
            self._drop()
            raise (
                self._explain_answer(error, "etcd snapshot") or self._explain_silence(error, connection)
            ) from None


def open_cluster(options: StoreOptions) -> EtcdCluster:
    """Raises StoreLibraryMissing (naming the packages), StoreError when an endpoint cannot be read."""
    return EtcdCluster(options, load_library())


def read_health(options: StoreOptions) -> ClusterHealth:
    """Ask every member that the endpoints of `options` list, each one alone.

    Raises StoreError when none of the endpoints answers.
    """
    with closing(open_cluster(options)) as cluster:
        cluster_id, members = cluster.list_members()
    return ClusterHealth(cluster_id, tuple(_ask(member, options) for member in members))


def _ask(member: Member, options: StoreOptions) -> MemberHealth:
    if not member.client_urls:
        return MemberHealth(member, "it has not started yet")
    own = replace(options, endpoints=member.client_urls)
    try:
        with closing(open_cluster(own)) as cluster:
            status = cluster.read_status()
            health = MemberHealth(member, "", status.leader, status.version, status.dbSize)
            if not status.leader:
                return replace(
                    health, error="it knows no leader: less than half of the members work together"
                )
            # As `etcdctl endpoint health` does: the answer needs the quorum, a refusal is one too.
            with suppress(StoreAuthError):
                cluster.get("health")
            return replace(health, sees=frozenset(seen.id for seen in cluster.list_members()[1]))
    except StoreError as error:
        return MemberHealth(member, error.cause)


def find_member(members: Sequence[Member], name: str, peer_urls: FrozenSet[str]) -> Optional[Member]:
    """The member of that name, or the one at those peer URLs that has not started yet.

    Its URLs may differ in the scheme. Raises MemberError when the URLs belong to a member of another name, or the name
    is at other addresses.
    """
    for member in members:
        if peer_urls and member.peer_urls & peer_urls and member.name not in ("", name):
            raise MemberError(
                f"etcd member {name}",
                f"its peer URL {', '.join(sorted(peer_urls))} belongs to the member {member.name}",
                f"remove the member {member.name} from the cluster first, or give {name} another address",
            )
        if member.name == name:
            if peer_urls and _addresses(member.peer_urls) != _addresses(peer_urls):
                raise MemberError(
                    f"etcd member {name}",
                    f"it is in the cluster with the peer URL {', '.join(sorted(member.peer_urls))}",
                    "remove it from the cluster first; it then joins anew at its other address",
                )
            return member
        if peer_urls and member.peer_urls == peer_urls:
            return member
    return None


def _addresses(urls: FrozenSet[str]) -> FrozenSet[str]:
    return frozenset(url.partition("://")[2] for url in urls)


def refuse_addition(health: ClusterHealth, name: str) -> None:
    """Raise MemberError unless all members are healthy: the new one counts for the quorum before it has started."""
    sick = [member for member in health.members if not member.healthy]
    if sick:
        raise MemberError(
            f"etcd member {name}",
            f"it cannot join while {sick[0].member} is not healthy ({sick[0].error})",
            "bring that one back first, or remove it from the cluster",
        )


def refuse_removal(health: ClusterHealth, leaving: Member) -> None:
    """Raise MemberError if the members that stay would have no quorum."""
    staying = [member for member in health.members if member.member.id != leaving.id]
    able = sum(member.healthy for member in staying)
    if not staying or able <= len(staying) // 2:
        raise MemberError(
            f"etcd member {leaving}",
            f"without it {able} of {len(staying)} members would be healthy, which is no quorum",
            "bring the other members back first"
            if staying
            else "it is the last one; remove etcd from this host instead",
        )


def describe_members(members: Sequence[Member]) -> str:
    """A line for each, for a diff. Without ids: that of a new member is not known before it is added."""
    return "".join(f"{line}\n" for line in sorted(map(str, members)))


def describe_health(health: ClusterHealth) -> Dict[str, Any]:
    """The return values about a cluster."""
    return {
        "cluster_id": f"{health.cluster_id:x}",
        "leader": health.leader.name if health.leader else None,
        "agreed": health.agreed,
        "members": [
            {
                "id": f"{item.member.id:x}",
                "name": item.member.name,
                "peer_urls": sorted(item.member.peer_urls),
                "client_urls": list(item.member.client_urls),
                "healthy": item.healthy,
                "error": item.error or None,
                "version": item.version or None,
                "db_size": item.db_size,
            }
            for item in health.members
        ],
    }


def _member(answer: Any) -> Member:
    return Member(answer.ID, answer.name, frozenset(answer.peerURLs), tuple(answer.clientURLs))
