# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who answers for the agent: its start, its loop, and nobody when the loop is stuck."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace
from typing import Tuple

import pytest
from flanneld import desk as module
from flanneld.desk import Desk, ReportWanted
from flanneld.outputs.report import Report

from tests.support.reports import make_report

SERVING = make_report()


def make_desk() -> Tuple[Desk, queue.SimpleQueue[object]]:
    def report_starting(waiting_for: str) -> Report:
        return replace(SERVING, phase="starting", waiting_for=waiting_for)

    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    return Desk(inbox, report_starting), inbox


def test_while_it_starts_the_answer_says_what_it_waits_for() -> None:
    desk, inbox = make_desk()
    assert desk.ask() == replace(SERVING, phase="starting", waiting_for="")
    desk.tell_waiting("fetch network config: etcd is away")
    assert desk.ask() == replace(SERVING, phase="starting", waiting_for="fetch network config: etcd is away")
    assert inbox.empty()


def test_then_the_loop_answers_each() -> None:
    desk, inbox = make_desk()
    desk.open()

    def turn() -> None:
        for uptime in (1.0, 2.0):
            wanted = inbox.get()
            assert isinstance(wanted, ReportWanted)
            wanted.reply.put(replace(SERVING, uptime=uptime))

    loop = threading.Thread(target=turn)
    loop.start()
    assert [desk.ask(), desk.ask()] == [replace(SERVING, uptime=1.0), replace(SERVING, uptime=2.0)]
    loop.join()


def test_a_stuck_loop_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.05)
    desk, _inbox = make_desk()
    desk.open()
    assert desk.ask() is None


def test_at_the_end_the_last_report_stands() -> None:
    desk, inbox = make_desk()
    desk.open()
    last = replace(SERVING, phase="stopping", ready=False)
    desk.close(last)
    assert desk.ask() == last
    assert inbox.empty()
