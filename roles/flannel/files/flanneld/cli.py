# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: settings in, exit code out."""

from __future__ import annotations

import logging
import os
import sys
from typing import Mapping, Optional, Sequence, Tuple, Type

from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    ConfigError,
    FlannelError,
    InterfaceError,
    OutOfSubnets,
    StoreAuthError,
    StoreError,
    StoreTLSError,
)

from flanneld import __version__
from flanneld.backends import BackendError
from flanneld.leasing import LeaseTaken
from flanneld.options import UsageError, parse_options, usage
from flanneld.outputs.files import FileError
from flanneld.outputs.journal import set_up_log
from flanneld.tables import KernelError

log = logging.getLogger(__name__)

USAGE = 2
EXIT_CODES: Tuple[Tuple[Type[FlannelError], int], ...] = (
    (UsageError, USAGE),
    (ConfigError, 3),
    (InterfaceError, 4),
    (StoreAuthError, 5),
    (StoreTLSError, 5),
    (StoreError, 5),
    (OutOfSubnets, 6),
    (LeaseTaken, 6),
    (BackendError, 7),
    (KernelError, 7),
    (FileError, 8),
)
"""One code per cause; docs/exit-codes.md explains them, and is part of our interface."""


def main(arguments: Optional[Sequence[str]] = None, environment: Optional[Mapping[str, str]] = None) -> int:
    """Run with this command line and environment, by default the process's own; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    environment = os.environ if environment is None else environment
    if any(argument in ("-h", "-help", "--help") for argument in arguments):
        print(usage(), end="")
        return 0
    try:
        options = parse_options(arguments, environment)
    except UsageError as error:
        print(f"flanneld: {error}", file=sys.stderr)
        return USAGE
    if options.version:
        print(__version__)
        return 0
    set_up_log(options.v)
    # kernel and store libraries cost half a second to load, which --help and --version need not wait for
    from flanneld.daemon import run

    try:
        run(options)
    except FlannelError as error:
        log.error("%s", error)
        return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)
    log.info("Exiting cleanly...")
    return 0
