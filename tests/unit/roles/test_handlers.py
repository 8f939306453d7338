# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restart is one in every state of the unit."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible.modules import systemd_service

HANDLERS = Path(__file__).resolve().parents[3] / "roles/flannel/handlers/main.yml"


def test_flanneld_is_restarted_also_while_it_reads_everything_anew() -> None:
    """It tells systemd then that it is reloading. The module takes that for a unit that does not run and would start
    it, which does nothing: flanneld would go on with the settings of before."""
    assert not systemd_service.is_running_service({"ActiveState": "reloading"})
    (restart,) = (
        handler
        for handler in yaml.safe_load(HANDLERS.read_text(encoding="utf-8"))
        if handler["name"] == "Restart flanneld"
    )
    assert restart["ansible.builtin.command"]["argv"][:2] == ["systemctl", "restart"]
