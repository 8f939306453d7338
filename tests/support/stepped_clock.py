# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wall clock of one agent, to be set while it runs (see stepped_clock.c)."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.agent import BUNDLE, Agent
from tests.support.netns import execute

SOURCE = Path(__file__).with_name("stepped_clock.c")
LIBRARY = BUNDLE.with_name("stepped_clock.so")
DAY = 86400  # seconds


def build_library() -> None:
    """Make LIBRARY from SOURCE, in one step: other test processes may be using it."""
    new = LIBRARY.with_suffix(f".{os.getpid()}")
    execute("cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(new), str(SOURCE))
    new.rename(LIBRARY)


class SteppedClock:
    """From its making on, the agent is started with this clock, which is right until it is set."""

    def __init__(self, agent: Agent) -> None:
        build_library()
        self._file = agent.host.run_dir / "clock"
        self.set(0)
        agent.environment = {"LD_PRELOAD": str(LIBRARY), "CLOCK_OFFSET_FILE": "/run/clock"}

    def set(self, offset: int) -> None:
        """Seconds before or after the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.rename(self._file)
