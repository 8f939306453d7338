# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A watch in a thread of its own, as the agent has one, that keeps what it saw and how it ended."""

from __future__ import annotations

import queue
import threading
from typing import Optional

from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreError
from ansible_collections.weft.flannel.plugins.module_utils._store import Store, WatchBatch


class WatchingThread:
    """Watches from its making on. `stop` is the event that ends the watch; `fault` the error that did, if one."""

    def __init__(self, store: Store, key_or_prefix: str, from_revision: int) -> None:
        self.stop = threading.Event()
        self.fault: Optional[StoreError] = None
        self._batches: queue.Queue[WatchBatch] = queue.Queue()
        self._watch = store.watch(key_or_prefix, from_revision, self.stop)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for batch in self._watch:
                self._batches.put(batch)
        except StoreError as error:
            self.fault = error

    def next_batch(self, timeout: float = 10.0) -> WatchBatch:
        return self._batches.get(timeout=timeout)

    @property
    def seen(self) -> int:
        """How many batches wait to be taken."""
        return self._batches.qsize()

    def has_ended(self, within: float) -> bool:
        """Wait that many seconds at most for the watch to end."""
        self._thread.join(within)
        return not self._thread.is_alive()
