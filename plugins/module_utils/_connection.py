# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""How a module reaches etcd, and how it ends when it cannot.

The options are documented in plugins/doc_fragments/_etcd.py.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import Any, Callable, Dict, Iterator, Mapping, NoReturn, Optional, Protocol

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._store import Store, StoreOptions, open_store

CONNECTION_SPEC: Mapping[str, Mapping[str, Any]] = {
    "endpoints": {
        "type": "list",
        "elements": "str",
        "default": ["http://127.0.0.1:2379"],
        "aliases": ["host"],
    },
    "port": {"type": "int", "default": 2379},
    "ca_cert": {"type": "path"},
    "client_cert": {"type": "path"},
    # A path, not the key itself.
    "client_key": {"type": "path", "no_log": False},
    "username": {"type": "str", "aliases": ["user"]},
    "password": {"type": "str", "no_log": True},
    "timeout": {"type": "float", "default": 5},
    "prefix": {"type": "str", "default": "/coreos.com/network", "aliases": ["etcd_prefix"]},
}

REQUIRED_TOGETHER = (("client_cert", "client_key"), ("username", "password"))


class Module(Protocol):
    """What is used here of AnsibleModule, so that the rules stay importable without Ansible."""

    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn:
        """End the module: it has failed."""

    def exit_json(self, **kwargs: Any) -> NoReturn:
        """End the module: it is done."""


def complete_endpoint(endpoint: str, port: int) -> str:
    """Give an endpoint the port it does not name: "10.0.0.1" -> "10.0.0.1:2379", "https://a/" -> "https://a:2379".

    The store judges the rest of it.
    """
    host = endpoint.rpartition("://")[2].rpartition("]")[2]
    return endpoint if ":" in host else f"{endpoint.rstrip('/')}:{port}"


def store_options(params: Mapping[str, Any]) -> StoreOptions:
    """The options of CONNECTION_SPEC as the store wants them. Raises StoreError for values that cannot work."""
    username, password = params["username"] or "", params["password"]
    return StoreOptions(
        endpoints=tuple(complete_endpoint(endpoint, params["port"]) for endpoint in params["endpoints"]),
        ca_cert=params["ca_cert"] or "",
        client_cert=params["client_cert"] or "",
        client_key=params["client_key"] or "",
        timeout=params["timeout"],
        username=username,
        password=(lambda: str(password)) if username else None,
    )


@contextmanager
def connected_store(params: Mapping[str, Any]) -> Iterator[Store]:
    """A store for the length of a with block."""
    with closing(open_store(store_options(params))) as store:
        yield store


def failure_of(error: FlannelError) -> Dict[str, Any]:
    """The arguments of fail_json for an error. `error` names its class, for plays that treat causes differently."""
    return {
        "msg": str(error),
        "error": type(error).__name__,
        "subject": error.subject,
        "cause": error.cause,
        "next_step": error.next_step,
    }


def run_module(module: Module, body: Callable[[], Mapping[str, Any]]) -> NoReturn:
    """End the module with what the body returns, or with the error it raises on purpose."""
    try:
        result = body()
    except FlannelError as error:
        module.fail_json(**failure_of(error))
    module.exit_json(**result)


def text_or_none(value: Optional[object]) -> Optional[str]:
    """An address or a network as a return value."""
    return None if value is None else str(value)
