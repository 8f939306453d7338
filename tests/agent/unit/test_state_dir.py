# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What survives a reboot, and what damage to it does."""

from __future__ import annotations

import logging

import pytest
from flanneld.outputs.state_dir import StateDir

MAC = "02:00:00:00:00:01"


def test_a_mac_is_remembered_by_device(tmp_path):
    state = StateDir(tmp_path / "new")
    assert state.recall_mac("flannel.1") is None
    assert state.list_devices() == frozenset()
    state.remember_mac("flannel.1", MAC)
    state.remember_mac("flannel.7", MAC)
    assert StateDir(tmp_path / "new").recall_mac("flannel.1") == MAC
    assert state.list_devices() == {"flannel.1", "flannel.7"}


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", b"c6:d2"])
def test_damage_is_no_reason_to_fail(tmp_path, damage):
    (tmp_path / "flannel.1.mac").write_bytes(damage)
    assert StateDir(tmp_path).recall_mac("flannel.1") != MAC


def test_a_directory_that_cannot_be_written_is_told(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    state = StateDir(tmp_path / "file" / "state")
    with caplog.at_level(logging.WARNING):
        state.remember_mac("flannel.1", MAC)
    assert "flannel.1.mac: it cannot be written" in caplog.text
    assert state.recall_mac("flannel.1") is None
