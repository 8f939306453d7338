# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`flanneld network --nerdctl`, on this host, with its file elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, List

import pytest
from flanneld.commands import network
from flanneld.outputs.container_network import ContainerNetworkError, is_ours

SUBNET_ENV = (
    "FLANNEL_NETWORK=198.18.0.0/16\nFLANNEL_SUBNET=198.18.{}.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
)
Call = Callable[..., List[str]]


@pytest.fixture
def conflist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "net.d" / "90-flannel.conflist"
    monkeypatch.setattr(network, "CONFLIST_FILE", str(path))
    monkeypatch.setattr(network, "FILES", (str(tmp_path / "flannel.json"), str(path)))
    return path


@pytest.fixture
def call(tmp_path: Path, conflist: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    (tmp_path / "subnet.env").write_text(SUBNET_ENV.format(5), encoding="utf-8")

    def run(*arguments: str) -> List[str]:
        assert network.run([*arguments, f"--subnet-file={tmp_path / 'subnet.env'}"], {}) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_the_second_time_nothing_changes(call: Call, conflist: Path) -> None:
    assert call("--nerdctl", "--dry-run") == [f"would be written: {conflist}"]
    assert not conflist.exists()
    assert call("--nerdctl") == [f"written: {conflist}"]
    assert is_ours(conflist.read_text(encoding="utf-8"))
    assert call("--nerdctl") == []


def test_another_subnet_is_followed(call: Call, conflist: Path, tmp_path: Path) -> None:
    call("--nerdctl")
    (tmp_path / "subnet.env").write_text(SUBNET_ENV.format(6), encoding="utf-8")
    assert call("--nerdctl") == [f"written: {conflist}"]
    assert "198.18.6.1" in conflist.read_text(encoding="utf-8")


def test_what_is_removed_is_ours_alone(call: Call, conflist: Path) -> None:
    call("--nerdctl")
    assert call("--remove", "--dry-run") == [f"would be removed: {conflist}"]
    assert call("--remove") == [f"removed: {conflist}"]
    conflist.write_text('{"name": "flannel", "plugins": []}', encoding="utf-8")
    assert call("--remove") == []
    assert conflist.exists()


def test_a_network_of_somebody_else_is_left_as_it_is(call: Call, conflist: Path) -> None:
    conflist.parent.mkdir()
    conflist.write_text('{"name": "flannel", "plugins": []}', encoding="utf-8")
    with pytest.raises(ContainerNetworkError, match="flanneld has not made"):
        call("--nerdctl")
    assert conflist.read_text(encoding="utf-8") == '{"name": "flannel", "plugins": []}'


def test_without_subnet_env_the_message_says_whom_to_ask(call: Call, tmp_path: Path) -> None:
    (tmp_path / "subnet.env").unlink()
    with pytest.raises(ContainerNetworkError, match="flanneld status"):
        call("--nerdctl")
