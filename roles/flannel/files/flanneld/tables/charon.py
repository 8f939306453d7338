# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""strongSwan's IKE daemon of an instance, and how it is asked: VICI on a Unix socket, with strongSwan's own library."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Sequence, Tuple

from . import Change, KernelError, Key
from .bulk import describe_change

PROGRAMS: Tuple[str, ...] = (
    "/usr/sbin/charon-systemd",
    "/usr/lib/strongswan/charon",
    "/usr/lib/ipsec/charon",
    "/usr/libexec/strongswan/charon",
    "/usr/libexec/ipsec/charon",
)
"""Where distributions have it, and upstream looks for it (spec 5.6)."""

_ANSWER_SECONDS = 30.0  # it may be computing keys for many others
_WATCH_SECONDS = 0.5  # how late its coming is noticed; its going is at once


@dataclass(frozen=True)
class Charon:
    """socket: where it listens for VICI. unit: its service."""

    socket: str
    unit: str

    @contextlib.contextmanager
    def ask(self, subject: str) -> Iterator[Any]:
        """A session (vici.Session). Raises KernelError when it is away, silent, or says no; subject: what for."""
        # imported by those who need it only
        from flanneld.vendored.vici.exception import CommandException, SessionException
        from flanneld.vendored.vici.session import Session

        try:
            with socket.socket(socket.AF_UNIX) as connected:
                connected.settimeout(_ANSWER_SECONDS)
                connected.connect(self.socket)
                yield Session(connected)  # type: ignore[no-untyped-call]
        except OSError as error:
            raise self._explain(subject, error) from error
        except CommandException as error:
            raise _explain_no(subject, error) from error
        except SessionException as error:
            # what the library says when an answer came too late, to the next question
            late = error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error))
            raise self._explain(subject, late) from error

    def apply(
        self, table: str, changes: Sequence[Change], apply_one: Callable[[Any, Change], None]
    ) -> Mapping[Key, KernelError]:
        """Make the changes of a table in one session; apply_one: asks for one. What is not loaded counts as removed."""
        from flanneld.vendored.vici.exception import CommandException

        errors: Dict[Key, KernelError] = {}
        try:
            with self.ask(f"{len(changes)} changes of {table}") as session:
                for change in changes:
                    try:
                        apply_one(session, change)
                    except CommandException as error:
                        if change.after is not None or "not found" not in str(error):
                            errors[change.key] = _explain_no(describe_change(table, change), error)
        except KernelError as error:
            return {change.key: error for change in changes}
        return errors

    def watch(self, wake: Callable[[], None], stop: threading.Event) -> None:
        """Call wake each time it has come or gone, until stop is set."""
        while not stop.wait(_WATCH_SECONDS):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
                line.settimeout(_WATCH_SECONDS)
                line.connect(self.socket)
                wake()
                _wait_for_end(line, stop)
                wake()

    def is_absent(self) -> bool:
        """It is not running, so that nothing is loaded in it."""
        try:
            with socket.socket(socket.AF_UNIX) as connected:
                connected.connect(self.socket)
        except (FileNotFoundError, ConnectionRefusedError):
            return True
        except OSError:
            return False
        return False

    def _explain(self, subject: str, error: OSError) -> KernelError:
        step = f"systemctl start {self.unit}, and see why it does not run: journalctl -u {self.unit}"
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
            return KernelError(subject, f"charon is not running (nobody listens at {self.socket})", step)
        if isinstance(error, socket.timeout):
            cause = f"charon does not answer within {_ANSWER_SECONDS:.0f} s"
            return KernelError(subject, cause, f"if that lasts: systemctl restart {self.unit}")
        return KernelError(subject, f"charon at {self.socket}: {error.strerror or error}", step)


def _wait_for_end(line: socket.socket, stop: threading.Event) -> None:
    """It says nothing that it was not asked for."""
    while not stop.is_set():
        with contextlib.suppress(socket.timeout):
            if not line.recv(1):
                return


def _explain_no(subject: str, error: Exception) -> KernelError:
    """What charon has against it."""
    cause = str(error).partition("Command failed: ")[2] or str(error)
    return KernelError(
        subject, f"charon refuses it: {cause}", "see its log; a proposal needs the plugin that computes it"
    )


def find_program() -> Optional[str]:
    """Where charon is on this host, None if it is not installed."""
    return next((path for path in PROGRAMS if Path(path).exists()), None)
