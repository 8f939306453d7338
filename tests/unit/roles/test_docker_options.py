# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docker-options.sh turns subnet.env into the variables of upstream's mk-docker-opts.sh (spec 3.3)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/flannel/files/docker-options.sh"
SUBNET_ENV = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ={}\n"


def run(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    (directory / "subnet.env").write_text(text, encoding="utf-8")
    command = ["sh", SCRIPT, directory / "subnet.env", directory / "run/options.env"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("flannel_masquerades", "docker_masquerades"), [("false", "true"), ("true", "false")]
)
def test_vector_of_upstream(tmp_path: Path, flannel_masquerades: str, docker_masquerades: str) -> None:
    assert run(tmp_path, SUBNET_ENV.format(flannel_masquerades)).returncode == 0
    assert (tmp_path / "run/options.env").read_text(encoding="utf-8") == (
        'DOCKER_OPT_BIP="--bip=10.1.74.1/24"\n'
        f'DOCKER_OPT_IPMASQ="--ip-masq={docker_masquerades}"\n'
        'DOCKER_OPT_MTU="--mtu=1472"\n'
    )


def test_waits_for_subnet_env_and_says_so(tmp_path: Path) -> None:
    command = ["sh", SCRIPT, tmp_path / "subnet.env", tmp_path / "options.env"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert "waiting for" in waiting.stderr.readline()
        assert not (tmp_path / "options.env").exists()
        (tmp_path / "new").write_text(SUBNET_ENV.format("true"), encoding="utf-8")
        (tmp_path / "new").rename(tmp_path / "subnet.env")
        assert waiting.wait() == 0
    assert "10.1.74.1/24" in (tmp_path / "options.env").read_text(encoding="utf-8")


def test_incomplete_subnet_env_fails_and_keeps_the_old_options(tmp_path: Path) -> None:
    run(tmp_path, SUBNET_ENV.format("true"))
    before = (tmp_path / "run/options.env").read_text(encoding="utf-8")
    result = run(tmp_path, "FLANNEL_SUBNET=10.1.75.1/24\n")
    assert result.returncode != 0
    assert "FLANNEL_MTU" in result.stderr
    assert (tmp_path / "run/options.env").read_text(encoding="utf-8") == before
