# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two formats of the log, and what is kept of it for the status."""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import flanneld
import pytest
from flanneld.outputs.journal import LastErrors, remember_errors, set_up_log

log = logging.getLogger("flanneld.tests")
KLOG = re.compile(r"([IWEF])\d{4} \d{2}:\d{2}:\d{2}\.\d{6} +\d+ test_journal\.py:\d+\] (.*)")


@pytest.fixture(autouse=True)
def _leave_the_log_alone(monkeypatch):
    root = logging.getLogger("flanneld")
    before = root.handlers[:], root.propagate, root.level
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    yield
    root.handlers[:], root.propagate, level = before
    root.setLevel(level)


def log_a_failure() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("Couldn't do it")


def test_text_is_what_klog_writes(capsys):
    set_up_log(0)
    log.debug("not shown")
    log.info("Found network config - Backend type: %s", "vxlan")
    log.warning("careful")
    log.error("bad")
    log.critical("worse")
    lines = [KLOG.fullmatch(line) for line in capsys.readouterr().err.splitlines()]
    assert [line.groups() for line in lines if line] == [
        ("I", "Found network config - Backend type: vxlan"),
        ("W", "careful"),
        ("E", "bad"),
        ("F", "worse"),
    ]


def test_text_in_the_journal_has_priorities_on_every_line(capsys, monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    set_up_log(1)
    log.debug("shown")
    log_a_failure()
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("<7>I")
    assert len(rest) > 3
    assert all(line.startswith("<3>") for line in rest)


def test_text_from_outside_stays_on_its_line(capsys):
    set_up_log(0)
    log.warning("Refused lease: BackendType is %s", "x\nI1127 00:00:00.000000 1 x.py:1] forged\x1b[2J é")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("BackendType is x\\nI1127 00:00:00.000000 1 x.py:1] forged\\x1b[2J é")


def test_json_is_one_object_per_line(capsys, monkeypatch):
    # a priority would not be JSON
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    set_up_log(0, "json")
    before = datetime.now(timezone.utc)
    log.info('a "quoted" text\nof two lines, é and \udc80')
    log_a_failure()
    told, failed = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert list(told) == ["time", "level", "source", "message"]
    assert told["time"].endswith("Z")
    when = datetime.fromisoformat(told["time"].replace("Z", "+00:00"))
    assert timedelta(0) <= when - before < timedelta(minutes=1)
    assert told["level"] == "info"
    assert re.fullmatch(r"test_journal\.py:\d+", told["source"])
    assert told["message"] == 'a "quoted" text\nof two lines, é and \udc80'
    assert failed["level"] == "error"
    assert failed["message"] == "Couldn't do it"
    assert "ValueError: two\nlines" in failed["error"]


def test_json_says_nothing_beyond_the_text(capsys):
    """Arguments that the text does not show (%.0s) could be secrets."""
    set_up_log(0, "json")
    log.info("logged in as %s%.0s", "flannel", "the password")
    assert "the password" not in capsys.readouterr().err


def test_errors_are_remembered_newest_first():
    set_up_log(0)
    errors = remember_errors()
    log.info("no error")
    log.warning("watch %d lost", 1)
    log.error("etcd is away")
    log.warning("watch %d lost", 1)
    assert [(error.text, error.count) for error in errors.recent_errors()] == [
        ("watch 1 lost", 2),
        ("etcd is away", 1),
    ]


def test_the_age_is_that_of_the_last_time():
    errors = LastErrors()
    now = 1000.0

    def emit(text: str) -> None:
        errors.emit(logging.LogRecord("flanneld", logging.ERROR, "daemon.py", 1, text, (), None))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flanneld.outputs.journal.time.monotonic", lambda: now)
        emit("first")
        now += 7
        emit("second")
        now += 5
        emit("first")
        now += 2
        assert [(error.text, error.ago) for error in errors.recent_errors()] == [("first", 2), ("second", 7)]


def test_the_oldest_are_forgotten():
    set_up_log(0)
    errors = remember_errors()
    for number in range(50):
        log.error("error %d", number)
    assert [error.text for error in errors.recent_errors()] == [f"error {n}" for n in range(49, 29, -1)]


SOURCES = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted(Path(flanneld.__file__).parent.rglob("*.py"))
)
LOG_LINES = (Path(__file__).resolve().parents[3] / "docs" / "log-lines.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", re.findall(r"^\| `([^`]+)` \| kept \|", LOG_LINES, re.MULTILINE))
def test_a_line_that_scripts_search_for_is_still_written(line):
    """docs/log-lines.md promises it."""
    assert f'"{line}' in SOURCES


@pytest.mark.parametrize(
    "line", re.findall(r"`([^`]+)`", LOG_LINES.rpartition("\n\n")[2].partition(" The metrics")[0])
)
def test_a_line_of_ours_that_is_worth_an_alert_is_still_written(line):
    assert line in SOURCES
