# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the agent, from its lock to its last word: join the network, serve, leave the data path as it is."""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import signal
import socket
import threading
from pathlib import Path
from typing import Any, Iterator

from ansible_collections.weft.flannel.plugins.module_utils._endpoint import parse_endpoint
from ansible_collections.weft.flannel.plugins.module_utils._store import open_store

from flanneld import __version__
from flanneld.daemon import Daemon, Stop
from flanneld.desk import Desk
from flanneld.instance import Instance
from flanneld.leasing.etcd import EtcdSubnetManager
from flanneld.options import Options
from flanneld.outputs.http import Ask, ListenError, serve_tcp, serve_unix
from flanneld.outputs.journal import LastErrors, remember_errors
from flanneld.outputs.lock import hold_lock
from flanneld.outputs.notify import notify, notify_reloading
from flanneld.outputs.state_dir import StateDir
from flanneld.readiness import report_starting
from flanneld.startup import Start, Stopped, join_network

log = logging.getLogger(__name__)


class Ending:
    """Why the agent ends. SIGTERM and SIGINT end it; SIGHUP ends it to be started again, with everything read anew.

    A thread takes the signals from Python's wakeup descriptor: the kernel may hand one to any thread, and the main
    thread, waiting, would not hear of it for seconds; nor may a handler take a lock, which an Event and the log have.
    """

    def __init__(self, inbox: queue.SimpleQueue[object]) -> None:
        self._inbox = inbox
        self.stop = threading.Event()
        self.again = False
        self.ended = False
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _let_the_next_kill)
        signal.signal(signal.SIGHUP, _do_nothing)

    def _listen(self) -> None:
        while True:
            for number in self._reader.recv(64):
                self._take(number)

    def _take(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            log.info("shutdownHandler sent cancel signal...")
            self.again, self.ended = False, True
        elif number == signal.SIGHUP and not self.stop.is_set():
            log.info("SIGHUP: reading everything again")
            self.again = True
        else:
            return
        self.stop.set()
        self._inbox.put(Stop())


def _let_the_next_kill(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)


def _do_nothing(number: int, frame: Any) -> None:
    """A signal without a handler would end the process."""


def run(options: Options) -> bool:
    """Join the network and serve until a signal. True: start again. Raises the FlannelError that made it impossible."""
    errors = remember_errors()
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    ending = Ending(inbox)
    instance = Instance(options.instance)
    log.info("flanneld %s, instance %s", __version__, instance.name)
    for endpoint in options.endpoints:
        parse_endpoint(endpoint, "http")  # one with a password in it is refused before it is logged
    log.info("CLI flags config: %s", options)
    with hold_lock(Path(instance.lock)):
        try:
            again = _join_and_serve(options, instance, errors, inbox, ending)
        finally:
            ending.stop.set()
        if again:
            notify_reloading()
        else:
            notify("STOPPING=1")
        return again


def _join_and_serve(
    options: Options,
    instance: Instance,
    errors: LastErrors,
    inbox: queue.SimpleQueue[object],
    ending: Ending,
) -> bool:
    state = StateDir(Path(options.state_dir))
    identity = state.read_identity()
    manager = EtcdSubnetManager(
        options.layout,
        functools.partial(open_store, options.store),
        ttl=options.subnet_lease_ttl,
        margin=options.subnet_lease_renew_margin * 60,
        stop=ending.stop,
    )
    desk = Desk(inbox, functools.partial(report_starting, options, identity, errors))

    def tell(what: str) -> None:
        desk.tell_waiting(what)
        if what:
            notify(f"STATUS=waiting to {what}")

    with _serving(options, instance, desk.ask):
        try:
            joined = join_network(Start(options, instance, manager, state, identity, tell, ending.stop))
            daemon = Daemon(options, joined, manager, state, desk, errors, inbox, ending.stop)
            daemon.serve()
        except Stopped:
            return ending.again
        again = (ending.again or daemon.again) and not ending.ended
        if options.release_on_exit and not again:
            daemon.release_lease()
        return again


@contextlib.contextmanager
def _serving(options: Options, instance: Instance, ask: Ask) -> Iterator[None]:
    """Answer whoever asks how we are. That nobody can ask is told, and ends nothing: containers need the network."""
    with contextlib.ExitStack() as stack:
        listeners = [functools.partial(serve_unix, instance.socket, ask)]
        if options.healthz_port:
            listeners.append(functools.partial(serve_tcp, options.healthz_ip, options.healthz_port, ask))
        for listen in listeners:
            try:
                stack.callback(listen().close)
            except ListenError as error:
                log.error("%s", error)
        yield
