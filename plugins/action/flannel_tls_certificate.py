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
        found = self._run(
            "flannel_tls_certificate_info",
            {"path": arguments["path"], "key_path": arguments["key_path"]},
            task_vars,
        )
        present = _judge(found, authority, arguments["path"])
        reasons = find_reasons(present, wanted, now)
        # A host where all is well is asked for nothing more.
        access = "{owner}:{group} {key_mode}".format(**arguments)
        request: Dict[str, Any] = {"changed": False}
        if reasons or found["key_access"] != access:
            request = self._request(arguments, wanted, task_vars)
        changed = bool(reasons) or request["changed"]
        # In check mode the directory that the files go to may not be there yet.
        if authority is not None and not (self._task.check_mode and reasons):
            files = {arguments["ca_path"]: authority.pem} if arguments["ca_path"] else {}
            if reasons:
                files[arguments["path"]] = sign(authority, request["request"], wanted, now)
            changed = self._put(arguments, files, task_vars) or changed
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

    def _request(
        self, arguments: Dict[str, Any], wanted: Wanted, task_vars: Dict[str, Any]
    ) -> Dict[str, Any]:
        """Have the host make its key, if there is none, and ask for a certificate."""
        return self._run(
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

    def _put(self, arguments: Dict[str, Any], files: Dict[str, str], task_vars: Dict[str, Any]) -> bool:
        """Write the files, path -> text, and return whether one has changed."""
        if not files:
            return False
        access = {"owner": arguments["owner"], "group": arguments["group"]}
        entries = [{"path": path, "content": text, **access} for path, text in files.items()]
        return bool(self._run("flannel_files", {"files": entries}, task_vars)["changed"])

    def _run(self, module: str, arguments: Dict[str, Any], task_vars: Dict[str, Any]) -> Dict[str, Any]:
        """Run a module of the collection on the host."""
        returned: Dict[str, Any] = self._execute_module(
            module_name=f"weft.flannel.{module}", module_args=arguments, task_vars=task_vars
        )
        if returned.get("failed") or "changed" not in returned:
            raise _HostFailed(returned)
        return returned


def _judge(found: Dict[str, Any], authority: Optional[Authority], path: str) -> Present:
    """What the host has. A certificate that is broken is one to replace."""
    if not found["exists"]:
        return NOTHING_PRESENT
    if found["problem"]:
        return Present(None, found["problem"], False, False)
    pem = found["pem"].encode()
    issued = authority is not None and is_issued_by(pem, authority)
    return Present(read_certificate(pem, path), "", issued, bool(found["key_matches"]))


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
