# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent with its lock: join the network, serve, leave the data path as it is."""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Optional

from ansible_collections.weft.flannel.plugins.module_utils._store import open_store

from flanneld.daemon import Daemon
from flanneld.desk import Desk
from flanneld.ending import Ending
from flanneld.instance import Instance
from flanneld.leasing.etcd import EtcdSubnetManager
from flanneld.options import Options
from flanneld.outputs.http import Ask, ListenError, serve_tcp, serve_unix
from flanneld.outputs.journal import LastErrors
from flanneld.outputs.notify import notify
from flanneld.outputs.state_dir import StateDir
from flanneld.readiness import report_starting
from flanneld.startup import Start, Stopped, join_network

if TYPE_CHECKING:  # most hosts need not load what forwards
    from flanneld.tables.udp import UserSpace

log = logging.getLogger(__name__)


def join_and_serve(
    options: Options,
    instance: Instance,
    errors: LastErrors,
    inbox: queue.SimpleQueue[object],
    ending: Ending,
    space: Optional[UserSpace],
) -> bool:
    """Returns True to be started again. space: what forwards for udp already. Raises the FlannelError that made it
    impossible."""
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
            start = Start(options, instance, manager, state, identity, tell, ending.stop, space)
            joined = join_network(start)
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
