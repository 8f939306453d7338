# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One agent per instance, with real processes: they hold, die, and replace themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest
from flanneld.outputs.files import FileError
from flanneld.outputs.lock import AlreadyRunning, hold_lock

PROGRAM = """
import os, sys
from pathlib import Path
from flanneld.outputs.lock import AlreadyRunning, hold_lock
try:
    with hold_lock(Path(sys.argv[1])):
        print("held", flush=True)
        if sys.stdin.readline() == "replace yourself\\n":
            os.execv(sys.executable, Path("/proc/self/cmdline").read_bytes()[:-1].split(b"\\0"))
except AlreadyRunning as error:
    print(error, flush=True)
"""


@contextlib.contextmanager
def agent(path: Path) -> Iterator[subprocess.Popen]:
    """A process that takes the lock, says so, and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "run" / "flanneld.lock"


def test_the_second_agent_is_told_who_has_it_and_what_to_do(lock):
    with agent(lock) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning) as caught, hold_lock(lock):
            raise AssertionError("two hold it")
        assert str(caught.value) == (
            f"lock {lock}: another flanneld, process {first.pid}, runs on this host;"
            " see systemctl status 'flanneld*', and stop one of them"
        )
        # and the refused one has not touched it
        assert lock.read_text() == f"{first.pid}\n"


def test_it_is_free_after_an_orderly_end_and_after_a_crash(lock):
    with hold_lock(lock):
        assert lock.read_text() == f"{os.getpid()}\n"
    for number in (signal.SIGTERM, signal.SIGKILL):
        with agent(lock) as one:
            assert one.stdout.readline() == "held\n"
            one.send_signal(number)
            one.wait()
            with hold_lock(lock):
                assert lock.read_text() == f"{os.getpid()}\n"


def test_an_agent_that_replaces_itself_does_not_stand_in_its_own_way(lock):
    with agent(lock) as one:
        for _life in range(3):
            assert one.stdout.readline() == "held\n"
            one.stdin.write("replace yourself\n")
            one.stdin.flush()
        assert one.stdout.readline() == "held\n"
        assert lock.read_text() == f"{one.pid}\n"
        with pytest.raises(AlreadyRunning), hold_lock(lock):
            pass


def test_a_child_does_not_inherit_it(lock):
    with hold_lock(lock):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with hold_lock(lock):
            pass
    finally:
        child.kill()
        child.wait()


def test_instances_do_not_stand_in_each_others_way(tmp_path):
    with hold_lock(tmp_path / "one.lock"), hold_lock(tmp_path / "two.lock"):
        pass


def test_nonsense_in_the_file_is_no_process(lock):
    with agent(lock) as one:
        assert one.stdout.readline() == "held\n"
        lock.write_bytes(b"\xff\x00")
        with (
            pytest.raises(AlreadyRunning, match="another flanneld, of unknown process id, runs"),
            hold_lock(lock),
        ):
            pass


def test_a_place_where_no_file_can_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(FileError, match="it cannot be opened: File exists"),
        hold_lock(tmp_path / "file" / "lock"),
    ):
        pass
