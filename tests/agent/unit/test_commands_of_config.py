# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines of the network config are read as Go reads them, and run without a shell (spec 5.8, appendix C)."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from flanneld.tables.commands import CommandError, expand, run_command, split_command

VALUES = {"A": "one", "AB": "two", "A B": "three", "_x9": "four", "1": "five", "-x": "six", "*": "seven"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n\v\f\r\u0085\u00a0\u2003\u3000", []),
        ("  ip  link\tadd\n", ["ip", "link", "add"]),
        ("a\u00a0b\u1680c\u2028d", ["a", "b", "c", "d"]),
        ("a\x1cb", ["a\x1cb"]),
        ("sh -c 'exit 1'", ["sh", "-c", "'exit", "1'"]),
        ("a\u200bb", ["a\u200bb"]),
    ],
)
def test_words_are_split_at_what_go_calls_white_space(text: str, words: list[str]) -> None:
    assert split_command(text) == words


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$A", "one"),
        ("${A}", "one"),
        ("$AB", "two"),
        ("${A}B", "oneB"),
        ("$A-$AB", "one-two"),
        ("x${A B}y", "xthreey"),
        ("$_x9.", "four."),
        ("$1", "five"),
        ("$12", "five2"),
        ("${12}", ""),
        ("${1}", "five"),
        ("${-x}", "six"),
        ("$-x", "x"),
        ("$*", "seven"),
        ("${*}", "seven"),
        ("$nothing", ""),
        ("${}", ""),
        ("a${}b", "ab"),
        ("a${b", "ab"),
        ("a${", "a"),
        ("a$", "a$"),
        ("a$/b", "a$/b"),
        ("$é", "$é"),
        ("$$A", "A"),
        ("no variable", "no variable"),
    ],
)
def test_variables_are_expanded_as_by_os_expand(text: str, expanded: str) -> None:
    assert expand(text, lambda name: VALUES.get(name, "")) == expanded


def test_it_has_no_shell_and_a_value_is_one_word() -> None:
    output = run_command("C", "printf %s| $VALUE; ${VALUE}|x >y $(id)", {"VALUE": "a b; id"}, "")
    assert output == "a b; id;|a b; id|x|>y|$(id)|"


def test_what_it_reads_and_prints(tmp_path: Path) -> None:
    assert run_command("C", "cat", {}, "the peer's data") == "the peer's data"
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nread line\necho \"  $line\"\nprintf 'err\\302\\240\\n' >&2\n")
    script.chmod(0o755)
    assert run_command("C", str(script), {}, "out") == "out\nerr"
    assert run_command("C", "printf \\377", {}, "") == "\ufffd"


def test_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_FLANNELD", "yes")
    monkeypatch.setenv("SUBNET", "of the environment")
    for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY"):
        monkeypatch.setenv(name, "secret")
    lines = run_command("C", "env", {"SUBNET": "10.5.1.0/24"}, "").splitlines()
    assert "OF_FLANNELD=yes" in lines
    assert "SUBNET=10.5.1.0/24" in lines
    assert not [line for line in lines if "secret" in line]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("false", "failed (exit status 1): it printed nothing"),
        ("ls --no-such-option", "failed (exit status 2): "),
        ("no-such-program-here", "no-such-program-here: No such file or directory"),
        ("/", "/: Permission denied"),
        ("echo a\0b", "is no command line: embedded null byte"),
        ("sleep 20", "did not end within 0.5 s and was killed"),
    ],
)
def test_a_failure_says_which_command_and_why(text: str, cause: str) -> None:
    with pytest.raises(CommandError) as raised:
        run_command("SubnetAddCommand", text, {}, "", limit=0.5)
    assert raised.value.subject == "SubnetAddCommand"
    assert raised.value.cause.startswith(cause)


def test_what_it_leaves_in_the_background_is_not_waited_for() -> None:
    begun = time.monotonic()
    assert run_command("C", "setsid -f sleep 5", {}, "") == ""
    assert time.monotonic() - begun < 4


def test_what_it_started_ends_with_it_when_the_time_is_up() -> None:
    with pytest.raises(CommandError):
        run_command("C", "timeout 987 sleep 986", {}, "", limit=0.3)
    time.sleep(0.1)
    running = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in running.splitlines() if "sleep 986" in line and not line.startswith("Z")]
