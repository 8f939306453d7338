# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the keys of a backend are on this host: the state directory, the kernel, files of the operator or upstream."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Mapping, Optional

from ansible_collections.weft.flannel.plugins.module_utils._password import read_secret

from flanneld.backends import BackendError, WireguardKeys
from flanneld.instance import DEFAULT, Instance
from flanneld.options import Options
from flanneld.outputs.files import read_regular
from flanneld.outputs.state_dir import StateDir
from flanneld.tables.wireguard_keys import Secret, parse_secret

log = logging.getLogger(__name__)

_UPSTREAMS_VARIABLE = "WIREGUARD_KEY_FILE"


def make_wireguard_keys(
    options: Options, instance: Instance, state: StateDir, environment: Optional[Mapping[str, str]] = None
) -> WireguardKeys:
    """environment: may name upstream's key file, and systemd's credentials; None: the process's own."""
    variables = os.environ if environment is None else environment

    def recall(device: str) -> Optional[Secret]:
        # asked by wireguard alone: the other backends need not load it
        from flanneld.tables.wireguard_netlink import read_private_key

        kept = read_private_key(device) or state.recall_wireguard_key()
        return kept or _adopt_upstreams(instance, variables)

    def remember(key: Secret) -> None:
        if state.recall_wireguard_key() != key:
            state.remember_wireguard_key(key)

    return WireguardKeys(recall, remember, lambda: read_psk(options, instance, variables))


def _adopt_upstreams(instance: Instance, environment: Mapping[str, str]) -> Optional[Secret]:
    """The key that the peers know this host by when it was upstream's until now."""
    path = environment.get(_UPSTREAMS_VARIABLE, "")
    if not path and instance.name == DEFAULT:
        path = instance.upstream_key_file
    if not path:
        return None
    try:
        key = parse_secret(read_regular(Path(path)).decode("ascii", "replace"))
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s: it cannot be read: %s; this host gets a new WireGuard key", path, error.strerror)
        return None
    if key is None:
        log.warning("%s: it holds no WireGuard key; this host gets a new one", path)
    else:
        log.info("Taking over the WireGuard key in %s", path)
    return key


def find_ipsec_psk_file(
    options: Options, instance: Instance, environment: Optional[Mapping[str, str]] = None
) -> str:
    """The file with the pre-shared key of `ipsec`, "" if this host has none. environment: as for the other keys."""
    variables = os.environ if environment is None else environment
    return _find_file(options.ipsec_psk_file, "ipsec-psk", instance.ipsec_psk_file, variables)


def _find_file(given: str, credential: str, kept: str, environment: Mapping[str, str]) -> str:
    """The file that a flag names; without the flag, the credential or the file in /etc, if there is one."""
    if given:
        return given
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    places = [f"{credentials}/{credential}"] if credentials else []
    return next((place for place in (*places, kept) if Path(place).exists()), "")


def read_psk(options: Options, instance: Instance, environment: Mapping[str, str]) -> Optional[Secret]:
    """The pre-shared key of `wireguard`, None if this host has no file with one. Raises BackendError, which does not
    say what it found."""
    path = _find_file(options.wireguard_psk_file, "wireguard-psk", instance.wireguard_psk_file, environment)
    if not path:
        return None
    subject = f"pre-shared key file {path}"
    psk = parse_secret(read_secret(path, "key", subject, BackendError))
    if psk is None:
        raise BackendError(
            subject, "could not parse psk", "write the output of `wg genpsk` into it: base64 of 32 octets"
        )
    return psk
