# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command as root in a virtual machine with Debian's own kernel.

    run.py [--timeout SECONDS] COMMAND [ARG...]

The guest (tools/vm/build) gets what the tests need of this checkout, as it is now, and runs COMMAND there. Its output
is this program's, line by line. Exits as the command did; 124 when the time was up; 125 when the guest did not come
up or died. Nothing that happens in the guest is kept.

The processor is emulated, so this works wherever qemu does, at a tenth of the speed. WEFT_VM_ACCEL=kvm takes the
machine's own, where a guest may have that.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, List

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "build" / "vm"
HANDED_OVER = ("plugins", "pytest.ini", "roles/flannel/files/flanneld", "tests", "tools/vm/run-job")
BUNDLE = "build/flanneld-compiled.pyz"

COMES_UP_WITHIN = 180.0  # seconds; a few on an idle machine
TIMED_OUT = 124  # as timeout(1) has it
NO_GUEST = 125


def list_files() -> List[str]:
    """What is handed over besides the bundle: known to git or about to be."""
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--deduplicate",
            *HANDED_OVER,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def pack(disk: Path, command: List[str]) -> None:
    """Write the guest's second disk: a tar of the checkout with the script `job`."""
    made = {"job": f"exec {shlex.join(command)}\n".encode(), BUNDLE: (ROOT / BUNDLE).read_bytes()}
    with tarfile.open(disk, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in made.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name in list_files():
            tar.add(ROOT / name, arcname=name)


class Guest:
    """One virtual machine, from `with` to its end.

    Its first serial line is the console and comes out here; the second one brings the words of tools/vm/run-job.
    """

    def __init__(self, disk: Path, words: Path) -> None:
        self._words = words
        accelerator = os.environ.get("WEFT_VM_ACCEL", "tcg,thread=multi")
        # setpriv: it dies with this program, however that ends.
        self._command = [
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-accel", accelerator, "-cpu", "max", "-smp", "2", "-m", "2048"),
            *("-kernel", str(IMAGE / "kernel"), "-initrd", str(IMAGE / "initramfs")),
            *("-append", "console=ttyS0,115200 quiet loglevel=3 panic=-1 mitigations=off"),
            *("-drive", f"file={IMAGE / 'root.ext4'},if=virtio,format=raw,readonly=on"),
            *("-drive", f"file={disk},if=virtio,format=raw,readonly=on"),
            *("-serial", "stdio", "-serial", f"file:{words}"),
        ]

    def __enter__(self) -> Guest:
        self._machine = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self._machine.stdout is not None
        self._printer = threading.Thread(target=print_lines, args=(self._machine.stdout,), daemon=True)
        self._printer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._machine.kill()
        self._machine.wait()
        self._printer.join(5)

    def words(self) -> List[str]:
        """What run-job has said so far: "up", then "ended STATUS"."""
        with contextlib.suppress(FileNotFoundError):
            return self._words.read_text().split("\n")[:-1]
        return []

    def wait_word(self, number: int, until: float) -> str:
        """Wait for the first or second word. Raises TimeoutError, or EOFError when the guest has died before it."""
        while True:
            alive = self._machine.poll() is None  # asked first, so that its last word is not missed
            words = self.words()
            if len(words) >= number:
                return words[number - 1]
            if not alive:
                raise EOFError
            if time.monotonic() > until:
                raise TimeoutError
            time.sleep(0.1)


def print_lines(output: IO[bytes]) -> None:
    for line in output:
        print(line.decode(errors="replace").rstrip("\r\n"), flush=True)


def run(command: List[str], timeout: float) -> int:
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"vm: {text} after {time.monotonic() - start:.1f} s", flush=True)

    with tempfile.TemporaryDirectory(prefix="weft-vm-") as directory:
        disk = Path(directory, "disk")
        pack(disk, command)
        with Guest(disk, Path(directory, "words")) as guest:
            try:
                guest.wait_word(1, start + COMES_UP_WITHIN)
                say("up")
            except (EOFError, TimeoutError):
                say("the guest did not come up")
                return NO_GUEST
            try:
                status = int(guest.wait_word(2, start + timeout).split()[1])
            except EOFError:
                say("the guest died")
                return NO_GUEST
            except TimeoutError:
                say("the time was up")
                return TIMED_OUT
        say(f"the command ended with {status}")
        return status


def main() -> int:
    parser = argparse.ArgumentParser(
        usage=__doc__.splitlines()[2].strip(), description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--timeout", type=float, default=600, help="seconds for all of it (default: %(default)g)"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if not arguments.command:
        parser.error("no command")
    for needed, target in ((IMAGE / "kernel", "vm-image"), (ROOT / BUNDLE, "bundle")):
        if not needed.exists():
            parser.error(f"there is no {needed}: make {target}")
    return run(arguments.command, arguments.timeout)


if __name__ == "__main__":
    sys.exit(main())
