# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the certificate authority on the controller; the module of this name documents it."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Optional

from ansible.plugins.action import ActionBase
from ansible_collections.weft.flannel.plugins.module_utils._connection import failure_of
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._tls import check_common_name, check_days
from ansible_collections.weft.flannel.plugins.module_utils._x509 import Authority
from ansible_collections.weft.flannel.plugins.plugin_utils._authority import find_authority, make_authority

ARGUMENT_SPEC = {
    "directory": {"type": "path", "required": True},
    "common_name": {"type": "str", "default": "flannel"},
    "days": {"type": "int", "default": 3650},
    "warn_days": {"type": "int", "default": 365},
}


class ActionModule(ActionBase):
    """Keeps an authority that is there, and makes one where there is none."""

    TRANSFERS_FILES = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        result: Dict[str, Any] = super().run(tmp, task_vars)
        _result, arguments = self.validate_argument_spec(ARGUMENT_SPEC)
        now = datetime.now(timezone.utc)
        try:
            return {**result, **self._ensure(arguments, now)}
        except FlannelError as error:
            return {**result, "failed": True, **failure_of(error)}

    def _ensure(self, arguments: Dict[str, Any], now: datetime) -> Dict[str, Any]:
        directory = Path(arguments["directory"])
        check_common_name(arguments["common_name"])
        check_days(arguments["days"])
        found = find_authority(directory, now)
        authority = found
        if found is None and not self._task.check_mode:
            authority = make_authority(directory, arguments["common_name"], arguments["days"], now)
        text = "" if found is None else f"certificate authority {found.facts.common_name}\n"
        return {
            "changed": found is None,
            "directory": str(directory),
            **_describe(authority, arguments["warn_days"], now),
            "diff": {
                "before_header": str(directory),
                "after_header": str(directory),
                "before": text,
                "after": text or f"certificate authority {arguments['common_name']}\n",
            },
        }


def _describe(authority: Optional[Authority], warn_days: int, now: datetime) -> Dict[str, Any]:
    if authority is None:
        return {"certificate": None, "common_name": None, "fingerprint": None, "days_left": None}
    days_left = authority.facts.days_left(now)
    warning = (
        f"The certificate authority {authority.facts.common_name} ends in {days_left} days, and all of its "
        "certificates with it: at a quiet time, move its directory away and have a new one made."
    )
    return {
        "certificate": authority.pem,
        "common_name": authority.facts.common_name,
        "fingerprint": authority.facts.fingerprint,
        "days_left": days_left,
        **({"warnings": [warning]} if days_left < warn_days else {}),
    }
