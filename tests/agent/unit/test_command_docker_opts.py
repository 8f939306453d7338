# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docker-opts writes what upstream's mk-docker-opts.sh writes (spec 3.3, vectors of mk-docker-opts_tests.sh)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from flanneld.commands import docker_opts

SCRIPT = Path(__file__).resolve().parents[3] / "roles/flannel/files/docker-options.sh"
SUBNET_ENV = (
    "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n"
)
BIP, MASQ, MTU = "--bip=10.1.74.1/24", "--ip-masq=true", "--mtu=1472"
SINGLE = f'DOCKER_OPT_BIP="{BIP}"\nDOCKER_OPT_IPMASQ="{MASQ}"\nDOCKER_OPT_MTU="{MTU}"\n'
COMBINED = f'" {BIP} {MASQ} {MTU}"\n'


class Shell:
    """A directory with a subnet.env, and docker-opts run on it."""

    def __init__(self, directory: Path) -> None:
        self.subnet_env = directory / "subnet.env"
        self.target = directory / "docker.env"
        self.subnet_env.write_text(SUBNET_ENV)

    def run(self, *arguments: str, **environment: str) -> int:
        return docker_opts.run(["-f", str(self.subnet_env), "-d", str(self.target), *arguments], environment)

    @property
    def written(self) -> str:
        return self.target.read_text()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], f"{SINGLE}DOCKER_OPTS={COMBINED}"),
        (["-i"], SINGLE),
        (["-c"], f"DOCKER_OPTS={COMBINED}"),
        (["-ic"], f"{SINGLE}DOCKER_OPTS={COMBINED}"),
        (["-k", "CUSTOM_KEY"], f"{SINGLE}CUSTOM_KEY={COMBINED}"),
        (["-c", "-kCUSTOM_KEY"], f"CUSTOM_KEY={COMBINED}"),
        (
            ["-m"],
            f'DOCKER_OPT_BIP="{BIP}"\nDOCKER_OPT_MTU="{MTU}"\nDOCKER_OPTS=" {BIP} {MTU}"\n',
        ),
    ],
)
def test_vectors_of_upstream(shell: Shell, arguments: list[str], expected: str) -> None:
    assert shell.run(*arguments) == 0
    assert shell.written == expected


def test_who_masquerades_is_exactly_one(shell: Shell) -> None:
    shell.subnet_env.write_text(SUBNET_ENV.replace("=false", "=true"))
    shell.run("-i")
    assert 'DOCKER_OPT_IPMASQ="--ip-masq=false"\n' in shell.written


def test_another_value_of_ipmasq_is_an_error_unless_it_is_not_asked_for(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.subnet_env.write_text("FLANNEL_IPMASQ=maybe\n")
    assert shell.run() == 1
    assert "Invalid value of FLANNEL_IPMASQ: maybe" in capsys.readouterr().err
    assert not shell.target.exists()
    assert shell.run("-m") == 0


def test_a_missing_subnet_env_is_no_error_and_the_environment_counts(shell: Shell) -> None:
    shell.subnet_env.unlink()
    assert shell.run() == 0
    assert shell.written == 'DOCKER_OPTS=""\n'
    assert shell.run("-c", FLANNEL_MTU="1400") == 0
    assert shell.written == 'DOCKER_OPTS=" --mtu=1400"\n'


def test_the_file_counts_more_than_the_environment(shell: Shell) -> None:
    shell.run("-c", FLANNEL_MTU="9000")
    assert "--mtu=1472" in shell.written


def test_the_current_value_of_the_key_comes_first(shell: Shell) -> None:
    shell.run("-c", DOCKER_OPTS="--debug")
    assert shell.written == f'DOCKER_OPTS="--debug  {BIP} {MASQ} {MTU}"\n'


def test_the_environment_is_swept_in_alphabetical_order(shell: Shell) -> None:
    shell.run(DOCKER_OPT_DNS="--dns=192.0.2.53", MY_DOCKER_OPT_X="--x", OTHER="y", DOCKER_OPT_MTU="--mtu=1")
    assert shell.written == (
        f'DOCKER_OPT_BIP="{BIP}"\nDOCKER_OPT_DNS="--dns=192.0.2.53"\nDOCKER_OPT_IPMASQ="{MASQ}"\n'
        f'DOCKER_OPT_MTU="{MTU}"\nMY_DOCKER_OPT_X="--x"\n'
        f'DOCKER_OPTS=" {BIP} --dns=192.0.2.53 {MASQ} {MTU} --x"\n'
    )


def test_a_variable_whose_value_names_an_option_is_swept_in(shell: Shell) -> None:
    shell.run("-i", WHICH="DOCKER_OPT_BIP")
    assert shell.written == f'{SINGLE}WHICH="DOCKER_OPT_BIP"\n'


def test_the_file_is_read_as_a_shell_does(shell: Shell) -> None:
    shell.subnet_env.write_text(
        "# by hand\nexport FLANNEL_SUBNET='10.1.74.1/24'\nFLANNEL_MTU=\"1472\" # bytes\n"
    )
    shell.run("-c")
    assert shell.written == f'DOCKER_OPTS=" {BIP} {MTU}"\n'


@pytest.mark.parametrize("argument", ["-h", "-?", "--help", "-x", "-k"])
def test_usage_is_exit_code_1(shell: Shell, argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.run(argument) == 1
    assert "Generate Docker daemon options" in capsys.readouterr().err
    assert not shell.target.exists()


def test_a_link_is_written_through_and_stays(shell: Shell) -> None:
    """As /dev/stdout is one: replacing that would take it from every other program of the host."""
    behind = shell.target.with_name("behind.env")
    behind.touch()
    shell.target.symlink_to(behind)
    assert shell.run("-i") == 0
    assert shell.target.is_symlink()
    assert behind.read_text() == SINGLE


def test_a_pipe_is_written_to_and_stays(shell: Shell) -> None:
    os.mkfifo(shell.target)
    with subprocess.Popen(["cat", shell.target], stdout=subprocess.PIPE, text=True) as reader:
        assert shell.run("-i") == 0
        assert reader.communicate()[0] == SINGLE
    assert shell.target.is_fifo()


def test_without_f_the_file_of_the_network_is_read(shell: Shell) -> None:
    assert docker_opts.run(["-d", str(shell.target), "-i", f"--subnet-file={shell.subnet_env}"], {}) == 0
    assert shell.written == SINGLE


def test_a_route_that_only_looks_like_ours_is_no_reason_to_fail(shell: Shell) -> None:
    """0.18.0 failed here: every remote subnet of flannel itself is a line with `via` in `ip route`."""
    shell.subnet_env.write_text(SUBNET_ENV.replace("10.1.74.1", "0.0.0.1"))
    assert shell.run() == 0


@pytest.mark.parametrize("masquerade", ["true", "false"])
def test_the_shell_script_that_wires_docker_writes_the_same(shell: Shell, masquerade: str) -> None:
    """Two writers, one truth: docker-options.sh, because Docker's start cannot wait for Python, and this one."""
    shell.subnet_env.write_text(SUBNET_ENV.replace("=false", f"={masquerade}"))
    shell.run("-i")
    by_script = shell.target.with_name("script.env")
    subprocess.run(["sh", SCRIPT, shell.subnet_env, by_script], check=True, env=dict(os.environ))
    assert by_script.read_text() == shell.written
