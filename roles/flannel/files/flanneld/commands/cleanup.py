# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`flanneld cleanup`: takes from this host exactly what is ours, for a host that leaves the network."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from pathlib import Path
from typing import Iterator, List, Mapping, Sequence, Set

from flanneld.commands.remains import Remains, find_remains, find_upstream, list_run_files
from flanneld.commands.settings import Settings, asks_for_help, read_settings, take_switches
from flanneld.instance import DEFAULT
from flanneld.outputs.files import FileError
from flanneld.outputs.lock import AlreadyRunning, hold_lock
from flanneld.outputs.state_dir import StateDir
from flanneld.plan import make_tables
from flanneld.reconciler import Reconciler
from flanneld.tables import Table, Worker
from flanneld.tables.extension import ExtensionTable

USAGE = """\
flanneld cleanup [--dry-run] [--keep-state] [--instance=NAME]

Removes what the agent has made on this host and leaves in place when it stops: devices, addresses, neighbours, FDB
entries, routes, firewall rules of either manager, subnet.env and the state directory. Bridges of Docker and CNI and
everything of other networks stay. The agent must be stopped; the lease in the store stays until it expires, unless
the agent was stopped with --release-on-exit.

  --dry-run      list what would go, and change nothing
  --keep-state   keep the state directory: the host comes back as the same one, with its subnet

Exit code: 0 nothing of ours is left (or, with --dry-run, it is listed), 10 the agent runs, 7 the kernel refused,
8 a file cannot be removed.
"""
_SECONDS = 20.0


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Raises UsageError, AlreadyRunning, KernelError, FileError."""
    if asks_for_help(arguments):
        print(USAGE, end="")
        return 0
    switches, flags = take_switches(arguments, ("dry-run", "keep-state"))
    settings = read_settings(flags, environment)
    if "dry-run" in switches:
        _list(settings, switches)
        return 0
    before = list_run_files(settings)  # taking the lock makes one
    with hold_lock(Path(settings.instance.lock)):
        _refuse_beside_upstream(settings)
        _clean(settings, switches, before)
    return 0


def _refuse_beside_upstream(settings: Settings) -> None:
    pid = find_upstream() if settings.instance.name == DEFAULT else None
    if pid is not None:
        raise AlreadyRunning(
            "flanneld cleanup",
            f"upstream's flanneld, process {pid}, runs on this host and uses the same names",
            "stop it first; or leave all as it is, if that is the one to stay",
        )


def _list(settings: Settings, switches: Set[str]) -> None:
    state = StateDir(Path(settings.options.state_dir))
    remains = find_remains(settings, state)
    lines = _find_objects(_make_tables(settings, state, remains))
    lines += [f"file {path}" for path in list_run_files(settings)]
    lines += [] if "keep-state" in switches else [f"file {path}" for path in state.list_files()]
    _tell("would remove", lines)
    _tell_unclear(remains)


def _clean(settings: Settings, switches: Set[str], run_files: Sequence[Path]) -> None:
    state = StateDir(Path(settings.options.state_dir))
    remains = find_remains(settings, state)
    tables = _make_tables(settings, state, remains)
    gone = _find_objects(tables)
    _remove_objects(tables)
    gone += [f"file {path}" for path in run_files]
    _remove_run_files(settings)
    gone += [] if "keep-state" in switches else [f"file {path}" for path in state.forget_all()]
    _tell("removed", gone)
    _tell_unclear(remains)


def _make_tables(settings: Settings, state: StateDir, remains: Remains) -> Sequence[Table]:
    hooks = state.recall_hooks()
    if hooks and not settings.options.allow_extension_commands:
        print(
            f"left {len(hooks)} commands of the backend extension as they were run: with --allow-extension-commands, "
            "SubnetRemoveCommand is run for each"
        )
        hooks = ()
    return make_tables(
        settings.instance, remains.scope, (), additional=(ExtensionTable(state),) if hooks else ()
    )


def _find_objects(tables: Sequence[Table]) -> List[str]:
    """What is there and ours, in the order in which it goes. Raises KernelError."""
    return [
        f"{table.name} {thing}"
        for table in reversed(tables)
        for thing in table.dump().values()
        if table.owns(thing)
    ]


def _remove_objects(tables: Sequence[Table]) -> None:
    """Raises KernelError, the first of those that are left after a while."""
    reconciler = Reconciler(tables)
    reconciler.allow_removal()
    deadline = time.monotonic() + _SECONDS
    with _working(tables) as news:
        wait = reconciler.reconcile()
        while not reconciler.settled and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                reconciler.note(news.get(timeout=wait or 0.1))
            wait = reconciler.reconcile()
    for error in reconciler.problems().values():
        raise error


@contextlib.contextmanager
def _working(tables: Sequence[Table]) -> Iterator[queue.SimpleQueue[object]]:
    """The threads of those tables that have one; what they tell."""
    news: queue.SimpleQueue[object] = queue.SimpleQueue()
    stop = threading.Event()
    threads = [
        threading.Thread(target=table.work, args=(news.put, stop), daemon=True)
        for table in tables
        if isinstance(table, Worker)
    ]
    for thread in threads:
        thread.start()
    try:
        yield news
    finally:
        stop.set()
        for thread in threads:
            thread.join(_SECONDS)


def _remove_run_files(settings: Settings) -> None:
    """Raises FileError."""
    for path in list_run_files(settings):
        try:
            path.unlink()
        except OSError as error:
            raise FileError(
                str(path), f"it cannot be removed: {error.strerror}", "remove it by hand"
            ) from error
    with contextlib.suppress(OSError):  # it holds what is not ours, or is kept by systemd
        Path(settings.instance.run_dir).rmdir()


def _tell(what: str, lines: Sequence[str]) -> None:
    if not lines:
        print("nothing of ours is on this host")
        return
    print(f"{what}:")
    for line in lines:
        print(f"  {line}")


def _tell_unclear(remains: Remains) -> None:
    for name in remains.unclear:
        print(
            f"left {name}: nothing on this host says that it belongs to this network; if it does: ip link delete {name}"
        )
