# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the agent, from its lock to its last word. First of all what forwarded in the last life does so again."""

from __future__ import annotations

import gc
import logging
import queue
from pathlib import Path

from ansible_collections.weft.flannel.plugins.module_utils._endpoint import parse_endpoint

from flanneld import __version__
from flanneld.ending import Ending
from flanneld.instance import Instance
from flanneld.options import Options
from flanneld.outputs.journal import remember_errors
from flanneld.outputs.lock import hold_lock
from flanneld.outputs.notify import notify, notify_reloading
from flanneld.resuming import resume_forwarding

log = logging.getLogger(__name__)

_YOUNG_OBJECTS = 50_000
"""New objects, by how many more they have become, between two looks for garbage in cycles."""


def collect_seldom() -> None:
    """Look for garbage in cycles less often than every 700 objects, as Python does: the agent makes next to none, and
    looking among thousands of peers costs a third of reading and comparing them."""
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])


def run(options: Options) -> bool:
    """Join the network and serve until a signal. True: start again. Raises the FlannelError that made it impossible."""
    collect_seldom()
    errors = remember_errors()
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    ending = Ending(inbox)
    instance = Instance(options.instance)
    log.info("flanneld %s, instance %s", __version__, instance.name)
    for endpoint in options.endpoints:
        parse_endpoint(endpoint, "http")  # one with a password in it is refused before it is logged
    log.info("CLI flags config: %s", options)
    with hold_lock(Path(instance.lock)):
        space = resume_forwarding(instance)
        # half of the time that a start takes is for loading this: packets of udp need not wait for it
        from flanneld.serving import join_and_serve

        try:
            again = join_and_serve(options, instance, errors, inbox, ending, space)
        finally:
            ending.stop.set()
        if again:
            notify_reloading()
        else:
            notify("STOPPING=1")
        return again
