# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: settings in, exit code out."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Mapping, NoReturn, Optional, Sequence, Tuple, Type

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
from flanneld.commands import COMMANDS
from flanneld.leasing import HostConflict, LeaseTaken
from flanneld.options import Options, UsageError, parse_options, usage
from flanneld.outputs.files import FileError
from flanneld.outputs.journal import set_up_log
from flanneld.outputs.lock import AlreadyRunning
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
    (HostConflict, 9),
    (AlreadyRunning, 10),
)
"""One code per cause; docs/exit-codes.md explains them, and is part of our interface."""


def main(arguments: Optional[Sequence[str]] = None, environment: Optional[Mapping[str, str]] = None) -> int:
    """Run with this command line and environment, by default the process's own; returns the exit code.

    The agent's process ends here.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    environment = os.environ if environment is None else environment
    try:
        if arguments and arguments[0] in COMMANDS:
            command = importlib.import_module(COMMANDS[arguments[0]].module)
            return int(command.run(arguments[1:], environment))
        if any(argument in ("-h", "-help", "--help") for argument in arguments):
            print(usage(), end="")
            return 0
        options = parse_options(arguments, environment)
    except FlannelError as error:
        print(f"flanneld: {error}", file=sys.stderr)
        return find_exit_code(error)
    if options.version:
        print(__version__)
        return 0
    return leave(serve(options))


def serve(options: Options) -> int:
    """Be the agent until told to stop; returns the exit code. Threads of it may still wait, in libraries."""
    set_up_log(options.v, options.log_format)
    # loading the rest takes time, which --help and --version need not wait for
    from flanneld.service import run

    try:
        again = run(options)
    except FlannelError as error:
        log.error("%s", error)
        return find_exit_code(error)
    if again:
        # the same program with the same arguments, in the same process: for systemd the service never stopped
        # SIGHUP is ignored until the program begins anew, and reads everything: by default it would end it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        command = Path("/proc/self/cmdline").read_bytes()[:-1].split(b"\0")
        os.execv(sys.executable, command)
    log.info("Exiting cleanly...")
    return 0


def leave(code: int) -> NoReturn:
    """End at once, with everything said. The interpreter is not taken down under threads that wait in libraries.

    That could end in a SIGSEGV, after which systemd calls a service failed that had done all its work.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def find_exit_code(error: FlannelError) -> int:
    """The code of an error's cause."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)
