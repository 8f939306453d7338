# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one step of `make test`: quietly, with a time limit, its output in a log.

    step.py NAME SECONDS COMMAND [ARG...]

Prints one line when it starts, a sign of life every half minute, pytest's closing lines, and one line
with the time it took and how much of that was processor time (of all that it waited for).  A step that
fails or exceeds its limit also prints the end of its log.
Exits as the command did, 124 when it ran out of time.
"""

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, List

LOGS = Path(__file__).resolve().parent.parent / "build" / "log"
SIGN_OF_LIFE = 30.0
TAIL_LINES = 60
PYTEST_CLOSING_LINE = re.compile(r"^=*\s*\d+ (passed|failed|skipped|error|xfailed|deselected)\b.* in [\d.]+s")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def say(text: str) -> None:
    print(text, flush=True)


def follow(output: IO[str], log: IO[str], lines: List[str]) -> None:
    for line in output:
        log.write(line)
        log.flush()
        lines.append(COLOUR.sub("", line).rstrip())


def end(process: "subprocess.Popen[str]") -> None:
    """Stop the step and everything it started: first asking, so that it can clean up."""
    for signal_number, patience in ((signal.SIGTERM, 30.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, signal_number)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def run_step(name: str, limit: float, command: List[str]) -> int:
    log_path = LOGS / f"{name}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    lines: List[str] = []
    say(f"{name}: started")
    with log_path.open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert process.stdout is not None
        follower = threading.Thread(target=follow, args=(process.stdout, log, lines), daemon=True)
        follower.start()
        status = wait_with_signs_of_life(name, process, start, limit, lines)
        follower.join(5)
    for line in lines:
        if PYTEST_CLOSING_LINE.match(line):
            say(f"  {line.strip('= ')}")
    took = time.monotonic() - start
    if status == 0:
        say(f"{name}: ok, {took:.0f} s ({read_processor_time():.0f} s of processor)")
        return 0
    say(f"--- the end of {log_path}")
    say("\n".join(lines[-TAIL_LINES:]))
    say("---")
    say(f"{name}: {'ran out of time' if status == 124 else 'FAILED'} after {took:.0f} s")
    return status


def read_processor_time() -> float:
    """Seconds, user and system, of the command and its descendants; a step is the only one of its process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def wait_with_signs_of_life(
    name: str, process: "subprocess.Popen[str]", start: float, limit: float, lines: List[str]
) -> int:
    try:
        while True:
            try:
                return process.wait(SIGN_OF_LIFE)
            except subprocess.TimeoutExpired:
                took = time.monotonic() - start
                if took > limit:
                    end(process)
                    return 124
                last = next((line for line in reversed(lines[-40:]) if line.strip()), "")
                say(f"{name}: {took:.0f} s, {last[:100]}")
    except KeyboardInterrupt:
        end(process)
        raise SystemExit(130) from None


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(run_step(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
