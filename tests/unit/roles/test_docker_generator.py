# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generator keeps every word of the command that the host starts dockerd with, and adds ours."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles/flannel/files"
DEBIAN = "[Service]\nExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS\n"
OURS = "$DOCKER_OPT_BIP $DOCKER_OPT_IPMASQ $DOCKER_OPT_MTU"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docker_generator", FILES / "docker_generator.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def install(root: Path, files: dict[str, str]) -> list[Path]:
    """Write unit files below etc/ and lib/, and return the load path."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [root / "etc", root / "lib"]


def generate(generator: ModuleType, root: Path, files: dict[str, str]) -> str:
    """The ExecStart lines of the drop-in that comes out; "" if there is none."""
    generator.main(root / "out", install(root, files))
    drop_in = root / "out/docker.service.d/zz-flannel.conf"
    if not drop_in.exists():
        return ""
    return "\n".join(
        line for line in drop_in.read_text(encoding="utf-8").splitlines() if line.startswith("Exec")
    )


def test_command_of_the_package_is_extended(generator: ModuleType, tmp_path: Path) -> None:
    made = generate(generator, tmp_path, {"lib/docker.service": DEBIAN})
    assert made == f"ExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS {OURS}"


def test_the_drop_in_word_for_word(generator: ModuleType, tmp_path: Path) -> None:
    generate(generator, tmp_path, {"lib/docker.service": DEBIAN})
    assert (tmp_path / "out/docker.service.d/zz-flannel.conf").read_text(encoding="utf-8") == (
        "# Made from the other files of docker.service by the generator flannel-docker; do not edit.\n"
        "[Service]\n"
        "ExecStart=\n"
        "ExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS $DOCKER_OPT_BIP $DOCKER_OPT_IPMASQ $DOCKER_OPT_MTU\n"
    )


def test_without_docker_nothing_is_made(generator: ModuleType, tmp_path: Path) -> None:
    assert generate(generator, tmp_path, {"lib/docker.service.d/override.conf": DEBIAN}) == ""


def test_masked_docker_gets_nothing(generator: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/docker.service").symlink_to("/dev/null")
    assert generate(generator, tmp_path, {"lib/docker.service": DEBIAN}) == ""


def test_operators_unit_hides_the_packages(generator: ModuleType, tmp_path: Path) -> None:
    own = DEBIAN.replace("$DOCKER_OPTS", "--debug")
    made = generate(generator, tmp_path, {"lib/docker.service": DEBIAN, "etc/docker.service": own})
    assert made.endswith(f"dockerd -H fd:// --debug {OURS}")


def test_last_drop_in_by_name_counts_wherever_it_is(generator: ModuleType, tmp_path: Path) -> None:
    files = {
        "lib/docker.service": DEBIAN,
        "lib/docker.service.d/20-vendor.conf": "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --vendor\n",
        "etc/docker.service.d/10-first.conf": "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --first\n",
    }
    assert generate(generator, tmp_path, files).endswith(f"/usr/bin/dockerd --vendor {OURS}")


def test_operators_drop_in_hides_the_packages_of_the_same_name(generator: ModuleType, tmp_path: Path) -> None:
    files = {
        "lib/docker.service": DEBIAN,
        "lib/docker.service.d/20-vendor.conf": "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --vendor\n",
        "etc/docker.service.d/20-vendor.conf": "[Service]\nLimitNOFILE=1\n",
    }
    assert generate(generator, tmp_path, files).endswith(f"$DOCKER_OPTS {OURS}")


def test_own_drop_in_is_not_read_again(generator: ModuleType, tmp_path: Path) -> None:
    files = {"lib/docker.service": DEBIAN, "etc/docker.service.d/zz-flannel.conf": DEBIAN}
    assert generate(generator, tmp_path, files).count("DOCKER_OPT_BIP") == 1


def test_comments_sections_and_continuations(generator: ModuleType, tmp_path: Path) -> None:
    text = (
        "[Unit]\nExecStart=/not/this\n"
        "[Service]\n# ExecStart=/nor/this\n; ExecStart=/nor/that\n"
        "ExecStart = /usr/bin/dockerd -H fd:// \\\n  # a comment in between\n  --label=a=b\n"
    )
    made = generate(generator, tmp_path, {"lib/docker.service": text})
    assert made.split("\n")[1].split() == [
        "ExecStart=/usr/bin/dockerd",
        "-H",
        "fd://",
        "--label=a=b",
        *OURS.split(),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[Service]\nType=notify\n", "0 ExecStart="),
        (DEBIAN + "ExecStart=/usr/bin/true\n", "2 ExecStart="),
        ("[Service]\nExecStart=/usr/local/bin/start-docker\n", "does not start dockerd"),
    ],
)
def test_what_cannot_be_extended_is_told(
    generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    assert generate(generator, tmp_path, {"lib/docker.service": text}) == ""
    assert reason in capsys.readouterr().err
