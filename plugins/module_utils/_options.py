# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The network config as options of an Ansible module, and as text that may be shown to people."""

from __future__ import annotations

import json
import re
from typing import AbstractSet, Any, Dict, FrozenSet, Iterator, Mapping, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._backends import BACKENDS, BackendKey
from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, load_document
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._gojson import encode, fold
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family

# Option, upstream's key, type (spec 1.2). The backend has its own table.
NETWORK_OPTIONS: Tuple[Tuple[str, str, str], ...] = (
    ("enable_ipv4", "EnableIPv4", "bool"),
    ("enable_ipv6", "EnableIPv6", "bool"),
    ("enable_nftables", "EnableNFTables", "bool"),
    ("network", "Network", "str"),
    ("subnet_len", "SubnetLen", "int"),
    ("subnet_min", "SubnetMin", "str"),
    ("subnet_max", "SubnetMax", "str"),
    ("ipv6_network", "IPv6Network", "str"),
    ("ipv6_subnet_len", "IPv6SubnetLen", "int"),
    ("ipv6_subnet_min", "IPv6SubnetMin", "str"),
    ("ipv6_subnet_max", "IPv6SubnetMax", "str"),
)

HIDDEN = "(hidden)"
HIDDEN_NEW = "(hidden, new)"

_SECRET_KEYS = frozenset(fold(name) for keys in BACKENDS.values() for name, key in keys.items() if key.secret)
# A secret in a text that is no JSON: quotes may be missing, or the end.
_SECRET_IN_TEXT = re.compile(
    rf"""(["']?(?:{"|".join(sorted(_SECRET_KEYS))})["']?\s*[:=]\s*)(?!""|'')"""
    r"""("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,}]+)""",
    re.IGNORECASE,
)


def option_name(key: str) -> str:
    """The option of a backend key: VNI -> vni, DirectRouting -> direct_routing, UDPEncap -> udp_encap."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key).lower()


def network_spec() -> Dict[str, Any]:
    """The options of the network config, as an argument spec: one per key, upstream's spelling an alias."""
    spec: Dict[str, Any] = {name: {"type": kind, "aliases": [key]} for name, key, kind in NETWORK_OPTIONS}
    spec["backend"] = {"type": "dict", "aliases": ["Backend"], "options": backend_spec()}
    return spec


def backend_spec() -> Dict[str, Any]:
    """The suboptions of `backend`: its type, and the keys of all types."""
    spec: Dict[str, Any] = {
        "type": {"type": "str", "required": True, "choices": sorted(BACKENDS), "aliases": ["Type"]}
    }
    for key, rule in backend_keys().items():
        option: Dict[str, Any] = {"type": rule.kind, "aliases": [key], "no_log": rule.secret}
        if rule.kind == "list":
            option["elements"] = "str"
        spec[option_name(key)] = option
    return spec


def backend_keys() -> Dict[str, BackendKey]:
    """Every key of any backend. One that several have is of the same kind in all of them."""
    return {name: key for keys in BACKENDS.values() for name, key in keys.items()}


def document_of(params: Mapping[str, Any]) -> Dict[str, Any]:
    """What the options say, as upstream's JSON object: only what is set.

    Raises ConfigError for a suboption that the backend does not have, and for a secret in the option config.
    """
    if params["config"] is not None:
        refuse_secrets(params["config"])
        return dict(params["config"])
    document = {key: params[name] for name, key, dummy in NETWORK_OPTIONS if params[name] is not None}
    if params["backend"] is not None:
        document["Backend"] = _backend_document(params["backend"])
    return document


def refuse_secrets(config: Mapping[str, Any]) -> None:
    """Raise ConfigError if an option `config`, which Ansible shows in logs, holds a secret."""
    if frozenset(_find_secrets(config)):
        raise ConfigError(
            "option config",
            "it holds a secret, and Ansible shows this option in logs",
            "leave it out; where it is needed, the options network, backend and so on hide it",
        )


def _backend_document(backend: Mapping[str, Any]) -> Dict[str, Any]:
    document: Dict[str, Any] = {"Type": backend["type"]}
    for key in backend_keys():
        name = option_name(key)
        if backend[name] is None:
            continue
        if key not in BACKENDS[backend["type"]]:
            owners = ", ".join(sorted(kind for kind, keys in BACKENDS.items() if key in keys))
            raise ConfigError(
                f"option backend.{name}",
                f"backend {backend['type']} does not have it",
                f"remove it, or set backend.type to a backend that has it ({owners})",
            )
        document[key] = backend[name]
    return document


def options_of(config: NetworkConfig) -> Dict[str, Any]:
    """A network config under the names of the options, with all defaults; secrets are hidden."""
    backend: Dict[str, Any] = {"type": config.backend.type}
    for key, value in config.backend.options.items():
        hidden = BACKENDS[config.backend.type][key].secret and value
        backend[option_name(key)] = HIDDEN if hidden else value
    return {
        "enable_ipv4": config.ipv4 is not None,
        "enable_ipv6": config.ipv6 is not None,
        "enable_nftables": config.enable_nftables,
        **_pool_options(config, IPV4, ""),
        **_pool_options(config, IPV6, "ipv6_"),
        "backend": backend,
    }


def _pool_options(config: NetworkConfig, family: Family, prefix: str) -> Dict[str, Any]:
    pool = config.pool(family)
    return {
        f"{prefix}network": str(pool.network) if pool else None,
        f"{prefix}subnet_len": pool.subnet_len if pool else None,
        f"{prefix}subnet_min": str(pool.subnet_min) if pool else None,
        f"{prefix}subnet_max": str(pool.subnet_max) if pool else None,
    }


def secrets_of(text: str) -> FrozenSet[str]:
    """The secrets in a stored config; none in a text that is not one."""
    document = _load(text)
    return frozenset() if document is None else frozenset(_find_secrets(document))


def readable(text: str, known_secrets: AbstractSet[str]) -> str:
    """A stored config for people: indented, with secrets hidden. A text that is no JSON object stays as it is.

    known_secrets: those that are no news; any other is marked as new.
    """
    document = _load(text)
    if document is None:
        return text and _hide_in_text(text).rstrip("\n") + "\n"
    return json.dumps(_hide(document, known_secrets), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def hide_secrets(text: str) -> str:
    """A stored config as it is; written anew, in compact form, if it holds a secret."""
    secrets = secrets_of(text)
    return encode(_hide(_load(text), secrets)) if secrets else _hide_in_text(text)


def _load(text: str) -> Optional[Dict[str, Any]]:
    try:
        return load_document(text)
    except ConfigError:
        return None


def _hide_in_text(text: str) -> str:
    return _SECRET_IN_TEXT.sub(rf'\g<1>"{HIDDEN}"', text)


def _find_secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if fold(str(key)) in _SECRET_KEYS and inner not in (None, ""):
                yield str(inner)
            else:
                yield from _find_secrets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _find_secrets(inner)


def _hide(value: Any, known: AbstractSet[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide_member(key, inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hide(inner, known) for inner in value]
    return value


def _hide_member(key: str, value: Any, known: AbstractSet[str]) -> Any:
    if fold(key) in _SECRET_KEYS and value not in (None, ""):
        return HIDDEN if str(value) in known else HIDDEN_NEW
    return _hide(value, known)
