# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Files for a host out of an action: ansible.builtin.copy does it, and check mode and idempotence are its own."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from ansible.plugins.action import ActionBase


def copy_to_host(
    action: ActionBase, arguments: Mapping[str, Any], task_vars: Dict[str, Any]
) -> Dict[str, Any]:
    """What ansible.builtin.copy returns for these arguments, run as the task of the action."""
    task = action._task.copy()
    task.args = dict(arguments)
    copy = action._shared_loader_obj.action_loader.get(
        "ansible.builtin.copy",
        task=task,
        connection=action._connection,
        play_context=action._play_context,
        loader=action._loader,
        templar=action._templar,
        shared_loader_obj=action._shared_loader_obj,
    )
    copied: Dict[str, Any] = copy.run(task_vars=task_vars)
    return copied
