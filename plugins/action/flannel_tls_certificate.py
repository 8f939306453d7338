# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the host make a key, signs for it on the controller and puts the result on the host; see the module."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from ansible.plugins.action import ActionBase
from ansible_collections.weft.flannel.plugins.module_utils._connection import failure_of
from ansible_collections.weft.flannel.plugins.module_utils._errors import CertificateError, FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._tls import (
    NOTHING_PRESENT,
    Present,
    Wanted,
    describe,
    describe_wanted,
    find_reasons,
    read_wanted,
)
from ansible_collections.weft.flannel.plugins.module_utils._x509 import (
    Authority,
    is_issued_by,
    read_certificate,
    sign,
)
from ansible_collections.weft.flannel.plugins.plugin_utils._authority import find_authority
from ansible_collections.weft.flannel.plugins.plugin_utils._copying import copy_to_host

ARGUMENT_SPEC = {
    "authority": {"type": "path", "required": True},
    "common_name": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "default": []},
    "usages": {"type": "list", "elements": "str", "choices": ["server", "client"], "required": True},
    "days": {"type": "int", "default": 365},
    "renew_percent": {"type": "int", "default": 33},
    "path": {"type": "path", "required": True},
    # A path, not the key itself.
    "key_path": {"type": "path", "required": True, "no_log": False},
    "ca_path": {"type": "path"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "key_mode": {"type": "str", "default": "0600", "no_log": False},
}
_NOT_MADE_YET = "(not made yet)"


class _HostFailed(Exception):
    """A module on the host has failed; result: what it returned."""

    def __init__(self, result: Dict[str, Any]) -> None:
        super().__init__(result.get("msg", ""))
        self.result = result


class ActionModule(ActionBase):
    """Keeps a certificate that fits, and makes another where it does not."""

    TRANSFERS_FILES = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        result: Dict[str, Any] = super().run(tmp, task_vars)
        _result, arguments = self.validate_argument_spec(ARGUMENT_SPEC)
        try:
            return {**result, **self._ensure(arguments, task_vars or {}, datetime.now(timezone.utc))}
        except FlannelError as error:
            return {**result, "failed": True, **failure_of(error)}
        except _HostFailed as failure:
            return {**result, **failure.result, "failed": True}

    def _ensure(self, arguments: Dict[str, Any], task_vars: Dict[str, Any], now: datetime) -> Dict[str, Any]:
        wanted = read_wanted(
            arguments["common_name"],
            arguments["names"],
            arguments["usages"],
            arguments["days"],
            arguments["renew_percent"],
        )
        authority = self._find_authority(Path(arguments["authority"]), now)
        present = self._look(arguments, authority, task_vars)
        reasons = find_reasons(present, wanted, now)
        request = self._run(
            "flannel_tls_request",
            {
                "path": arguments["key_path"],
                "common_name": wanted.common_name,
                "owner": arguments["owner"],
                "group": arguments["group"],
                "mode": arguments["key_mode"],
            },
            task_vars,
        )
        changed = bool(reasons) or request["changed"]
        # In check mode the directory that the files go to may not be there yet.
        if authority is not None and not (self._task.check_mode and reasons):
            text = sign(authority, request["request"], wanted, now) if reasons else None
            changed = self._put(arguments, authority, text, task_vars) or changed
        return {
            "changed": changed,
            "path": arguments["path"],
            "reasons": list(reasons),
            "days_left": _days_left(present, reasons, wanted, now),
            "diff": _build_diff(arguments["path"], present, reasons, wanted, authority, now),
        }

    def _find_authority(self, directory: Path, now: datetime) -> Optional[Authority]:
        authority = find_authority(directory, now)
        if authority is None and not self._task.check_mode:
            raise CertificateError(
                f"certificate authority {directory}",
                "there is none in this directory of the controller",
                "make it first, with weft.flannel.flannel_tls_authority",
            )
        return authority

    def _look(
        self, arguments: Dict[str, Any], authority: Optional[Authority], task_vars: Dict[str, Any]
    ) -> Present:
        """What the host has. A certificate that is broken is one to replace."""
        found = self._run(
            "flannel_tls_certificate_info",
            {"path": arguments["path"], "key_path": arguments["key_path"]},
            task_vars,
        )
        if not found["exists"]:
            return NOTHING_PRESENT
        if found["problem"]:
            return Present(None, found["problem"], False, False)
        pem = found["pem"].encode()
        issued = authority is not None and is_issued_by(pem, authority)
        return Present(read_certificate(pem, arguments["path"]), "", issued, bool(found["key_matches"]))

    def _put(
        self, arguments: Dict[str, Any], authority: Authority, text: Optional[str], task_vars: Dict[str, Any]
    ) -> bool:
        """Write the files and return whether one has changed. text: None keeps the certificate and sees to its mode."""
        files = [(arguments["ca_path"], authority.pem)] if arguments["ca_path"] else []
        if text is not None:
            files.append((arguments["path"], text))
        changed = False
        for path, content in files:
            copied = copy_to_host(
                self,
                {
                    "content": content,
                    "dest": path,
                    "owner": arguments["owner"],
                    "group": arguments["group"],
                    "mode": "0644",
                },
                task_vars,
            )
            if copied.get("failed"):
                raise _HostFailed(copied)
            changed = copied["changed"] or changed
        return changed

    def _run(self, module: str, arguments: Dict[str, Any], task_vars: Dict[str, Any]) -> Dict[str, Any]:
        """Run a module of the collection on the host."""
        returned: Dict[str, Any] = self._execute_module(
            module_name=f"weft.flannel.{module}", module_args=arguments, task_vars=task_vars
        )
        if returned.get("failed") or "changed" not in returned:
            raise _HostFailed(returned)
        return returned


def _days_left(present: Present, reasons: Tuple[str, ...], wanted: Wanted, now: datetime) -> int:
    if reasons or present.certificate is None:
        return wanted.days
    return present.certificate.days_left(now)


def _build_diff(
    path: str,
    present: Present,
    reasons: Tuple[str, ...],
    wanted: Wanted,
    authority: Optional[Authority],
    now: datetime,
) -> Dict[str, str]:
    fingerprint = _NOT_MADE_YET if authority is None else authority.facts.fingerprint
    signer = fingerprint if present.issued_by_authority else "another one"
    before = describe(present.certificate, signer, now)
    return {
        "before_header": path,
        "after_header": path,
        "before": before,
        "after": describe_wanted(wanted, fingerprint) if reasons else before,
    }
