# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Users of etcd and what each may do: what there is, what is wanted, and the steps between them. Pure.

A user of ours has one role of its own name, which nobody else has; root has etcd's role root instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, FrozenSet, Mapping, Optional, Protocol, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreError

ROOT = "root"
ACCESS = ("read", "write", "readwrite")


@dataclass(frozen=True)
class Grant:
    """A right on one key, or (text ending in "/") on all keys below a prefix. access: one of ACCESS.

    end: where the range of a right that was given by others ends, if it is neither; "" for ours.
    """

    key: str
    access: str
    end: str = ""

    def __str__(self) -> str:
        return f"{self.access} {self.key}" + (f" to {self.end}" if self.end else "")


@dataclass(frozen=True)
class User:
    """A user as etcd has it. role_exists, grants: of the role with the user's name."""

    name: str
    exists: bool
    roles: FrozenSet[str]
    role_exists: bool
    grants: FrozenSet[Grant]

    @property
    def lines(self) -> str:
        """As text, for a diff; "" for none. A right that the user's role has counts only if it has the role."""
        if not self.exists:
            return ""
        described = (f"user {self.name}", *(f"role {role}" for role in sorted(self.roles)))
        return "".join(f"{line}\n" for line in (*described, *sorted(map(str, self.grants))))


@dataclass(frozen=True)
class Steps:
    """What leads from a user as it is to the one that is wanted, in the order in which it is done.

    Rights are given before they are taken: a user at work loses none that it keeps.
    """

    add_role: bool
    grant: Tuple[Grant, ...]
    add_user: bool
    set_password: bool
    take_roles: Tuple[str, ...]
    give_roles: Tuple[str, ...]
    revoke: Tuple[Grant, ...]
    remove_user: bool
    remove_role: bool

    @property
    def needed(self) -> bool:
        return any(vars(self).values())


class Access(Protocol):
    """Users and roles of an etcd. Every call may raise what those of a Store may raise."""

    def is_enabled(self) -> bool:
        """Whether etcd asks who is asking."""

    def read_user(self, name: str) -> User:
        """What etcd tells of it, which leaves out its password."""

    def list_users(self) -> Tuple[str, ...]:
        """Their names."""

    def has_password(self, name: str, password: str) -> bool:
        """Whether that is the user's password. Only an etcd with authentication turned on can tell."""

    def carry_out(self, name: str, steps: Steps, password: str) -> None:
        """Take the steps. password: for a user that is added, or gets another one."""

    def enable(self) -> None:
        """Have etcd ask who is asking, from now on."""

    def disable(self) -> None:
        """Let everybody in again."""


def read_grants(name: str, grants: Sequence[Mapping[str, Any]]) -> FrozenSet[Grant]:
    """The option grants, checked. Raises StoreError."""
    if name == ROOT and grants:
        raise StoreError("etcd user root", "it may do everything, and grants is set", "leave grants out")
    found = frozenset(Grant(grant["key"], grant["access"]) for grant in grants)
    keys = [grant.key for grant in found]
    for key in keys:
        if not key or keys.count(key) > 1:
            raise StoreError(
                f"etcd user {name}, grants",
                f"the key {key!r} is there {keys.count(key)} times" if key else "a key is empty",
                "give each key once, with one access",
            )
    return found


def find_wanted(name: str, grants: FrozenSet[Grant]) -> User:
    """The user as it shall be."""
    return User(name, True, frozenset({name}), name != ROOT, grants)


def find_steps(current: User, wanted: Optional[User], set_password: bool) -> Steps:
    """From what is there to what is wanted; None: to no such user. Our own role is the only one that is taken along."""
    nothing: Tuple[Grant, ...] = ()
    if wanted is None:
        return Steps(False, nothing, False, False, (), (), nothing, current.exists, current.role_exists)
    order = sorted(wanted.grants - current.grants, key=str)
    kept_keys = {(grant.key, grant.end) for grant in wanted.grants}
    # etcd has one right per range: another access takes the place of the one before.
    outdated = [grant for grant in current.grants - wanted.grants if (grant.key, grant.end) not in kept_keys]
    return Steps(
        add_role=wanted.role_exists and not current.role_exists,
        grant=tuple(order),
        add_user=not current.exists,
        set_password=current.exists and set_password,
        take_roles=tuple(sorted(current.roles - wanted.roles)),
        give_roles=tuple(sorted(wanted.roles - current.roles)),
        revoke=tuple(sorted(outdated, key=str)),
        remove_user=False,
        remove_role=False,
    )
