# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Users and roles of etcd v3, over the connection of the store."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, FrozenSet, Iterator, Mapping, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._access import ROOT, Grant, Steps, User
from ansible_collections.weft.flannel.plugins.module_utils._connection import store_options
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    CertificateError,
    StoreAuthError,
    StoreError,
)
from ansible_collections.weft.flannel.plugins.module_utils._etcd import (
    EtcdStore,
    end_of_range,
    load_library,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import StoreOptions
from ansible_collections.weft.flannel.plugins.module_utils._x509 import read_certificate

# A user that nobody has: what etcd says to it tells whether authentication is on.
_NOBODY = "weft-flannel-nobody"


class EtcdAccess(EtcdStore):
    """The Access protocol on an etcd cluster. See _access.Access for what each call does."""

    def is_enabled(self) -> bool:
        request = self._library.rpc.AuthenticateRequest(name=_NOBODY, password="-")
        return not self._was_refused(request, "authentication is not enabled", "authentication failed")

    def has_password(self, name: str, password: str) -> bool:
        request = self._library.rpc.AuthenticateRequest(name=name, password=password)
        return not self._was_refused(request, "authentication failed", "authentication is not enabled")

    def _was_refused(self, request: Any, refusal: str, other: str) -> bool:
        """Whether etcd answers a login with this refusal. A login that succeeds, or is refused otherwise: False."""

        def send(connection: Any) -> bool:
            try:
                connection.auth.Authenticate(request, timeout=self._timeout)
            except self._library.grpc.RpcError as error:
                details = error.details() or ""
                if refusal in details:
                    return True
                if other not in details:
                    raise
            return False

        return self._call("etcd authentication", send)

    def list_users(self) -> Tuple[str, ...]:
        return tuple(sorted(self._ask("etcd users", "UserList", "AuthUserListRequest").users))

    def read_user(self, name: str) -> User:
        subject = f"etcd user {name}"
        exists = name in self.list_users()
        roles: FrozenSet[str] = frozenset()
        if exists:
            roles = frozenset(self._ask(subject, "UserGet", "AuthUserGetRequest", name=name).roles)
        role_exists = (
            name != ROOT and name in self._ask("etcd roles", "RoleList", "AuthRoleListRequest").roles
        )
        grants: FrozenSet[Grant] = frozenset()
        if role_exists:
            answer = self._ask(f"etcd role {name}", "RoleGet", "AuthRoleGetRequest", role=name)
            grants = frozenset(_grant_of(permission) for permission in answer.perm)
        return User(name, exists, roles, role_exists, grants)

    def carry_out(self, name: str, steps: Steps, password: str) -> None:
        user, role = f"etcd user {name}", f"etcd role {name}"
        if steps.add_role:
            self._ask(role, "RoleAdd", "AuthRoleAddRequest", name=name)
        for grant in steps.grant:
            self._ask(
                role, "RoleGrantPermission", "AuthRoleGrantPermissionRequest",
                name=name, perm=self._permission_of(grant),
            )  # fmt: skip
        if steps.add_user:
            self._ask(user, "UserAdd", "AuthUserAddRequest", name=name, password=password)
        if steps.set_password:
            self._ask(
                user, "UserChangePassword", "AuthUserChangePasswordRequest", name=name, password=password
            )
        for given in steps.give_roles:
            self._ask(user, "UserGrantRole", "AuthUserGrantRoleRequest", user=name, role=given)
        for taken in steps.take_roles:
            self._ask(user, "UserRevokeRole", "AuthUserRevokeRoleRequest", name=name, role=taken)
        for grant in steps.revoke:
            end = grant.end or end_of_range(grant.key)
            self._ask(
                role, "RoleRevokePermission", "AuthRoleRevokePermissionRequest",
                role=name, key=grant.key, range_end=end,
            )  # fmt: skip
        if steps.remove_user:
            self._ask(user, "UserDelete", "AuthUserDeleteRequest", name=name)
        if steps.remove_role:
            self._ask(role, "RoleDelete", "AuthRoleDeleteRequest", role=name)

    def enable(self) -> None:
        self._ask("etcd authentication", "AuthEnable", "AuthEnableRequest")

    def disable(self) -> None:
        self._ask("etcd authentication", "AuthDisable", "AuthDisableRequest")

    def _ask(self, subject: str, method: str, kind: str, **fields: Any) -> Any:
        request = getattr(self._library.rpc, kind)(**fields)

        def send(connection: Any) -> Any:
            # Over the connection itself, and not its channel: with our token, where there is one.
            stub = self._library.rpc.AuthStub(connection)
            return getattr(stub, method)(request, timeout=self._timeout)

        return self._call(subject, send)

    def _permission_of(self, grant: Grant) -> Any:
        from etcd3.etcdrpc import auth_pb2

        kind = auth_pb2.Permission.Type.Value(grant.access.upper())
        key, end = grant.key.encode(), end_of_range(grant.key).encode()
        return auth_pb2.Permission(permType=kind, key=key, range_end=end)


def _grant_of(permission: Any) -> Grant:
    access = ("read", "write", "readwrite")[permission.permType]
    key, end = (text.decode("utf-8", "replace") for text in (permission.key, permission.range_end))
    return Grant(key, access, "" if end == end_of_range(key) else end)


def _open(options: StoreOptions) -> EtcdAccess:
    return EtcdAccess(options, load_library())


@contextmanager
def connected_access(params: Mapping[str, Any]) -> Iterator[EtcdAccess]:
    """Users and roles, for the length of a with block."""
    with closing(_open(store_options(params))) as access:
        yield access


def refuse_lockout(params: Mapping[str, Any], access: EtcdAccess) -> None:
    """Raise StoreError unless these options still open etcd, as root, once authentication is on."""
    subject = "etcd authentication"
    root = access.read_user(ROOT)
    if not root.exists or ROOT not in root.roles:
        raise StoreError(
            subject,
            "there is no user root with the role root, so that nobody could manage etcd any more",
            "make it first, with weft.flannel.flannel_etcd_user and name: root",
        )
    options = store_options(params)
    if options.username:
        if options.username != ROOT:
            raise StoreError(
                subject,
                f"the task logs in as {options.username}, who could not manage etcd any more",
                "log in as root, or show a client certificate with the common name root",
            )
        return
    _refuse_unknown_certificate(subject, options)


def _refuse_unknown_certificate(subject: str, options: StoreOptions) -> None:
    common_name = _common_name_of(options.client_cert)
    if common_name != ROOT:
        raise StoreError(
            subject,
            "the task neither logs in as root nor shows a client certificate with the common name root"
            + (f", but one of {common_name}" if common_name else ""),
            "give username: root and its password, or such a certificate",
        )
    try:
        with closing(_open(replace(options, client_cert="", client_key=""))) as stranger:
            stranger.is_enabled()
    except StoreAuthError:
        return
    raise StoreError(
        subject,
        "etcd does not ask for client certificates, so that it would not know root by one",
        "start etcd with --client-cert-auth and --trusted-ca-file, or log in with username and password",
    )


def _common_name_of(path: str) -> str:
    if not path:
        return ""
    try:
        return read_certificate(Path(path).read_bytes(), f"client certificate {path}").common_name
    except OSError as error:
        raise CertificateError(
            f"client certificate {path}",
            f"cannot be read ({error.strerror})",
            "name a file that this user may read",
        ) from None
