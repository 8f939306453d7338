# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the archive on the controller, hands it to ansible.builtin.copy, and has the host make its byte code; the
module of this name documents it."""

from __future__ import annotations

import posixpath
import tempfile
from typing import Any, Dict, List, Optional

from ansible.plugins.action import ActionBase
from ansible_collections.weft.flannel.plugins.plugin_utils._bundle import Bundle, build_bundle
from ansible_collections.weft.flannel.plugins.plugin_utils._copying import copy_to_host


class ActionModule(ActionBase):
    """Puts flanneld-<version>-<hash>.pyz, and beside it its byte code, into a directory of the host."""

    TRANSFERS_FILES = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        result: Dict[str, Any] = super().run(tmp, task_vars)
        _result, arguments = self.validate_argument_spec({"directory": {"type": "path", "required": True}})
        try:
            bundle = build_bundle()
        except (OSError, ValueError) as error:
            return {**result, "failed": True, "msg": f"flanneld cannot be packed: {error}"}
        dest = posixpath.join(arguments["directory"], bundle.file_name)
        result.update(self._bring(bundle, dest, task_vars or {}))
        result.update(dest=dest, version=bundle.version, sha256=bundle.sha256)
        return result

    def _bring(self, bundle: Bundle, dest: str, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        """The archive first where it is missing; a host that has all of it is asked once."""
        compiled = self._compile(bundle, dest, task_vars)
        is_missing = compiled.get("error") == "ArchiveMissing"
        if not is_missing and (
            compiled.get("failed") or not self._task.check_mode or not compiled["changed"]
        ):
            return compiled
        copied = self._copy(bundle, dest, task_vars)
        if copied.get("failed"):
            return copied
        if is_missing:
            compiled = self._compile(bundle, dest, task_vars)
        diffs = [diff for one in (copied, compiled) for diff in list_diffs(one)]
        changed = bool(copied["changed"] or compiled.get("changed"))
        return {**compiled, "changed": changed, "diff": diffs}

    def _copy(self, bundle: Bundle, dest: str, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        """Run the copy action on the archive; check mode, diff and idempotence are its own."""
        with tempfile.NamedTemporaryFile(suffix=".pyz") as file:
            file.write(bundle.content)
            file.flush()
            return copy_to_host(self, {"src": file.name, "dest": dest, "mode": "0755"}, task_vars)

    def _compile(self, bundle: Bundle, archive: str, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        """Have the host make the byte code of this archive, if it has none for its Python."""
        compiled: Dict[str, Any] = self._execute_module(
            module_name="weft.flannel.flannel_bytecode",
            module_args={"archive": archive, "sha256": bundle.sha256},
            task_vars=task_vars,
        )
        return compiled


def list_diffs(result: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Those of a module, which returns one or several."""
    diff = result.get("diff", [])
    return list(diff) if isinstance(diff, list) else [diff]
