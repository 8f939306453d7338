# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the network config in the store is still the one that this agent runs with.

The config is read once: changing it under running containers needs their bridge to change, too, which takes consent.
"""

from __future__ import annotations

import logging
from typing import Callable, Optional

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError, FlannelError

from flanneld.backends import require_backend
from flanneld.leasing import ConfigSeen

log = logging.getLogger(__name__)


class ConfigWatch:
    """key: of the config, for messages. own: what we run with. agreed: the store had it when we started. require:
    raises ConfigError for a config that this agent cannot run with.

    pending: what somebody has to do about the config, "" if nothing.
    """

    def __init__(
        self,
        key: str,
        own: NetworkConfig,
        agreed: bool,
        require: Callable[[NetworkConfig], None] = require_backend,
    ) -> None:
        self._key = key
        self._require = require
        self._own = own
        self._agreed = agreed
        self._seen: Optional[str] = None
        self.pending = ""

    def see(self, message: ConfigSeen) -> bool:
        """Take in the config as it stands now; each change is told once.

        True: it changed while the store was away, so that we started with an old one; start again with it.
        """
        seen = (message.text or "").strip()
        if seen == self._seen:
            return False
        first, self._seen = self._seen is None, seen
        self.pending = ""
        try:
            config = self._read(message.text)
        except FlannelError as error:
            self.pending = (
                f"network config {self._key}: {error.cause}; {error.next_step}; this agent keeps the old one"
            )
            log.error("%s", self.pending)
            return False
        if config == self._own:
            self._agreed = True
            if not first:
                log.info("network config %s is again the one this agent runs with", self._key)
            return False
        if not self._agreed:
            log.warning(
                "network config %s has changed while the store was away: starting again with it", self._key
            )
            return True
        self.pending = (
            f"network config {self._key} has changed; this agent keeps the old one: "
            "restart flanneld to use the new one"
        )
        log.warning("%s", self.pending)
        return False

    def _read(self, text: Optional[str]) -> NetworkConfig:
        if text is None:
            raise ConfigError(
                "network config", "the key is gone", "write it with weft.flannel.flannel_network"
            )
        config = parse_config(text)
        self._require(config)
        return config
