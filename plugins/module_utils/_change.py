# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""One change of the network config in etcd: what is wanted, what has to be done, what it cuts, how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import (
    NetworkConfig,
    canonical,
    parse_config,
    unknown_keys,
)
from ansible_collections.weft.flannel.plugins.module_utils._connection import text_or_none
from ansible_collections.weft.flannel.plugins.module_utils._disruption import Disruption, disruptions
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    ConfigError,
    FlannelError,
    StoreError,
)
from ansible_collections.weft.flannel.plugins.module_utils._gojson import encode
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, Lease
from ansible_collections.weft.flannel.plugins.module_utils._network import (
    StoredNetwork,
    find_misfits,
    read_network,
)
from ansible_collections.weft.flannel.plugins.module_utils._options import (
    document_of,
    hide_secrets,
    options_of,
    readable,
    secrets_of,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue, Store, WriteResult

ATTEMPTS = 3
LEASES_NAMED = 10


class DisruptionRefused(FlannelError):
    """The change would cut live leases, and nobody has consented to that. cuts: as in Change."""

    def __init__(self, subject: str, cause: str, next_step: str, cuts: Tuple[Disruption, ...]) -> None:
        super().__init__(subject, cause, next_step)
        self.cuts = cuts


class WriteConflict(StoreError):
    """Somebody else kept changing the key between our read and our write."""


@dataclass(frozen=True)
class Wanted:
    """What shall be in etcd. config and text are None and "" for no key at all.

    source: the JSON that the options gave, unknown: the keys in it that flannel does not know; text has none of them.
    """

    config: Optional[NetworkConfig]
    text: str
    source: str
    unknown: Tuple[str, ...]


ABSENT = Wanted(None, "", "", ())


def read_wanted(params: Mapping[str, Any]) -> Wanted:
    """What the options of flannel_network ask for, checked with flanneld's rules. Raises ConfigError."""
    if params["state"] == "absent":
        return ABSENT
    document = document_of(params)
    source = encode(document)
    # The source too: canonical JSON leaves out null, which is an error for some keys.
    parse_config(source)
    text = canonical(document)
    return Wanted(parse_config(text), text, source, unknown_keys(source))


@dataclass(frozen=True)
class Change:
    """What leads from the key as it was read to what is wanted.

    current: the key as it was read, None if it did not exist; before: its value as text.
    unknown: the keys in it that flannel does not know.
    cuts: the leases that do not survive; empty where nothing is needed.
    """

    wanted: Wanted
    current: Optional[KeyValue]
    before: str
    needed: bool
    unknown: Tuple[str, ...]
    cuts: Tuple[Disruption, ...]

    @property
    def after(self) -> str:
        """The text of the key when the change is made."""
        return self.wanted.text if self.needed else self.before

    @property
    def read_revision(self) -> int:
        """When the key was last changed before it was read; 0: it did not exist."""
        return 0 if self.current is None else self.current.mod_revision


def plan_change(stored: StoredNetwork, wanted: Wanted) -> Change:
    """Compare what etcd holds with what is wanted. Two texts that mean the same are the same."""
    before = "" if stored.config is None else stored.config.value.decode("utf-8", "replace")
    config, unknown = _read_stored(before)
    same = stored.config is None if wanted.config is None else config == wanted.config and not unknown
    cuts = () if same else _find_cuts(config, wanted.config, stored.leases)
    return Change(wanted, stored.config, before, not same, unknown, cuts)


def _read_stored(text: str) -> Tuple[Optional[NetworkConfig], Tuple[str, ...]]:
    """The config in a stored text and the keys nobody knows; (None, ()) for a text that no flanneld can use."""
    try:
        return parse_config(text), unknown_keys(text)
    except ConfigError:
        return None, ()


def _find_cuts(
    old: Optional[NetworkConfig], new: Optional[NetworkConfig], leases: Tuple[Lease, ...]
) -> Tuple[Disruption, ...]:
    if old is not None:
        return disruptions(old, new, leases)
    # To remove a config that no flanneld can use cuts nothing.
    misfits = find_misfits(new, leases) if new is not None else ()
    return (Disruption("config", "unusable", "present", misfits),) if misfits else ()


def refuse_cuts(change: Change, key: str) -> None:
    """Raise DisruptionRefused if the change cuts leases."""
    if change.cuts:
        raise DisruptionRefused(
            f"network config {key}",
            "; ".join(_name_cut(cut) for cut in change.cuts),
            "set allow_disruptive: true to do it nevertheless, at a time when containers may lose their connections",
            change.cuts,
        )


def _name_cut(cut: Disruption) -> str:
    leases = ", ".join(_name_lease(lease) for lease in cut.leases[:LEASES_NAMED])
    more = len(cut.leases) - LEASES_NAMED
    rest = f" and {more} more" if more > 0 else ""
    return f"{cut.option} from {cut.old} to {cut.new} cuts {leases}{rest}"


def _name_lease(lease: Lease) -> str:
    addresses = [
        str(ip) for ip in (lease.attributes.public_ip, lease.attributes.public_ipv6) if ip is not None
    ]
    return f"{lease.key} ({', '.join(addresses) or 'no public IP'})"


def apply_wanted(
    store: Store, layout: Layout, wanted: Wanted, is_allowed: Callable[[Change], bool]
) -> Tuple[Change, int]:
    """Plan and write; plan anew when somebody else wrote in between, a few times.

    is_allowed: asked before each write; False leaves everything as it is, and it may raise.
    Returns the change, and the revision of the key after it: 0 if it does not exist then.
    Raises WriteConflict after the last attempt, StoreError when etcd does not answer.
    """
    for _attempt in range(ATTEMPTS):
        change = plan_change(read_network(store, layout), wanted)
        if not is_allowed(change) or not change.needed:
            return change, change.read_revision
        result = _write(store, layout.config, change)
        if result.succeeded:
            return change, result.revision if wanted.text else 0
    raise WriteConflict(
        f"network config {layout.config}",
        f"somebody else changed it during each of {ATTEMPTS} attempts to write it",
        "find out who else writes it, and run again",
    )


def _write(store: Store, key: str, change: Change) -> WriteResult:
    if change.wanted.text:
        return store.replace(key, change.wanted.text.encode(), change.read_revision)
    return store.delete(key, change.read_revision)


def describe_change(layout: Layout, change: Change, revision: int) -> Dict[str, Any]:
    """The return values of flannel_network."""
    return {
        "changed": change.needed,
        "key": layout.config,
        "exists": change.after != "",
        "config": None if change.wanted.config is None else options_of(change.wanted.config),
        "raw": hide_secrets(change.after) if change.after else None,
        "revision": revision,
        "unknown_keys": list(dict.fromkeys((*change.unknown, *change.wanted.unknown))),
        "disruptions": describe_cuts(layout, change.cuts),
        "diff": _build_diff(layout, change),
    }


def describe_cuts(layout: Layout, cuts: Tuple[Disruption, ...]) -> List[Dict[str, Any]]:
    """The return value `disruptions`."""
    return [
        {
            "option": cut.option,
            "before": cut.old,
            "after": cut.new,
            "leases": [
                {
                    "key": layout.subnet_key(lease.subnets),
                    "public_ip": text_or_none(lease.attributes.public_ip),
                    "public_ipv6": text_or_none(lease.attributes.public_ipv6),
                }
                for lease in cut.leases
            ],
        }
        for cut in cuts
    ]


def _build_diff(layout: Layout, change: Change) -> List[Dict[str, str]]:
    """The key before and after; and, if the options hold keys that are not written, the options without them."""
    known = secrets_of(change.before)
    pairs = [(layout.config, change.before, change.after)]
    if change.wanted.unknown:
        pairs.append(("option config, unknown keys", change.wanted.source, change.wanted.text))
    return [
        {
            "before_header": header,
            "after_header": header,
            "before": readable(before, known),
            "after": readable(after, known),
        }
        for header, before, after in pairs
    ]
