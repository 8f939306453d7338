# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`flanneld dump`: everything about this host that a support case needs, in one file, without secrets."""

from __future__ import annotations

import io
import os
import socket
import sys
import tarfile
import time
from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError

from flanneld.commands.dump_parts import list_parts, list_secrets
from flanneld.commands.masking import find_secrets, mask
from flanneld.commands.settings import Settings, asks_for_help, find_instance, read_settings
from flanneld.options import FLAGS, UsageError, parse_options
from flanneld.outputs.files import FileError

USAGE = """\
flanneld dump [FILE] [--instance=NAME]

Writes a support archive (.tar.gz, for root only): status, settings, network config, leases and node entries, state
directory, subnet.env, kernel and firewall state, the unit's journal, versions. Passwords, tokens and pre-shared keys
are masked; addresses and host names are not. What could not be had is named in missing.txt, with the reason.

  FILE   default: flanneld-dump-<host>-<time>.tar.gz in this directory

Exit code: 0 written, also when parts are missing; 8 the file cannot be written.
"""
_MISSING = "missing.txt"


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Raises UsageError for flags that do not exist, FileError."""
    if asks_for_help(arguments):
        print(USAGE, end="")
        return 0
    name = f"flanneld-dump-{socket.gethostname()}-{time.strftime('%Y%m%dT%H%M%S')}"
    files, flags = _take_file(arguments)
    target = Path(files[0] if files else f"{name}.tar.gz")
    settings = _read_settings_or_defaults(flags, environment)
    _write(target, name, settings)
    print(target)
    return 0


def _take_file(arguments: Sequence[str]) -> Tuple[List[str], List[str]]:
    """The file, and the flags with their values."""
    with_value = {flag.name for flag in FLAGS if not isinstance(flag.default, bool)}
    files: List[str] = []
    flags: List[str] = []
    value_follows = False
    for argument in arguments:
        (flags if value_follows or argument.startswith("-") else files).append(argument)
        value_follows = not value_follows and argument.startswith("-") and argument.lstrip("-") in with_value
    if len(files) > 1:
        raise UsageError(f"argument {files[1]}", "one file is enough", "name one file, or none")
    return files, flags


def _read_settings_or_defaults(flags: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """A service whose settings are wrong needs a dump, too."""
    parse_options(flags, {})  # what was typed just now can be corrected just now
    try:
        return read_settings(flags, environment)
    except FlannelError as error:
        print(f"flanneld dump: going on with defaults: {mask(str(error), ())}", file=sys.stderr)
        instance = find_instance(flags, environment)
        source = f"defaults, because of the service's settings: {error}"
        return Settings(parse_options([f"--instance={instance.name}"], {}), instance, source)


def _write(target: Path, name: str, settings: Settings) -> None:
    """Raises FileError. Everything is read before anything is written: one part may tell a secret of another."""
    texts, missing = _read_parts(settings)
    texts[_MISSING] = "".join(f"{line}\n" for line in missing)
    secrets = [*list_secrets(settings), *(secret for text in texts.values() for secret in find_secrets(text))]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(target, flags, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, 0o600)
            with tarfile.open(fileobj=stream, mode="w:gz") as archive:
                for part, text in texts.items():
                    _add(archive, f"{name}/{part}", mask(text, secrets))
    except OSError as error:
        raise FileError(
            str(target), f"it cannot be written: {error.strerror}", "name another file"
        ) from error


def _read_parts(settings: Settings) -> Tuple[Dict[str, str], List[str]]:
    """Name -> text, and a line for each part that cannot be had. Tells on stderr how far it is."""
    texts: Dict[str, str] = {}
    missing: List[str] = []
    for part in list_parts(settings):
        print(part.name, end="", file=sys.stderr, flush=True)
        try:
            texts[part.name] = part.read()
        except (FlannelError, OSError) as error:
            missing.append(f"{part.name}: {error}")
            print(": missing", file=sys.stderr)
        else:
            print(file=sys.stderr)
    return texts, missing


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode("utf-8", "surrogateescape")
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(content))
