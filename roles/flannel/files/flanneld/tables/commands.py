# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command line of the network config as upstream does: split, expanded, and without a shell (spec 5.8).

Only hosts that allow it come here (--allow-extension-commands): whoever can write to etcd says what is run, as root.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from typing import Callable, List, Mapping, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError

LIMIT = 60.0
"""Seconds that a command may take."""

# What Go's unicode.IsSpace takes for white space; str.split() takes 1c to 1f for it as well.
_SPACES = "\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_FIELD = re.compile(f"[^{_SPACES}]+")
_EDGES = re.compile(rf"\A[{_SPACES}]+|[{_SPACES}]+\Z")
_VARIABLE = re.compile(r"\$(?:\{([*#$@!?\-0-9])\}|\{([^}]+)\}|(\{\}?)|([*#$@!?\-0-9])|([A-Za-z0-9_]+))")
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY")
"""What systemd says to flanneld alone."""
_LONGEST_OUTPUT = 1 << 20
_QUOTED = 300


class CommandError(FlannelError):
    """A command of the network config failed."""


def split_command(text: str) -> List[str]:
    """The words of a command line, as Go's strings.Fields has them: there are no quotes."""
    return _FIELD.findall(text)


def expand(text: str, value_of: Callable[[str], str]) -> str:
    """$NAME and ${NAME} as Go's os.Expand has them: "${" without end or name goes, "$" before anything else stays."""

    def replace(match: re.Match[str]) -> str:
        special, braced, broken, digit, name = match.groups()
        return "" if broken else value_of(special or braced or digit or name)

    return _VARIABLE.sub(replace, text)


def run_command(what: str, text: str, variables: Mapping[str, str], data: str, limit: float = LIMIT) -> str:
    """What the command prints on both outputs, without white space at its ends.

    what: its name in the network config. text: with at least one word. variables: beside those that flanneld was
    started with. data: its standard input, to which a line feed is added. limit: in seconds. Raises CommandError.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    environment.update(variables)
    words = [expand(word, lambda name: environment.get(name, "")) for word in split_command(text)]
    try:
        status, output = _run(words, environment, data, limit)
    except subprocess.TimeoutExpired:
        raise CommandError(what, f"did not end within {limit:g} s and was killed", _STEP) from None
    except OSError as error:
        raise CommandError(
            what, f"{words[0]}: {error.strerror}", f"install it on this host, or {_STEP}"
        ) from None
    except ValueError as error:  # a NUL, or half a character
        raise CommandError(what, f"is no command line: {error}", _STEP) from None
    if status:
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        cause = f"failed ({how}): {output[-_QUOTED:] or 'it printed nothing'}"
        raise CommandError(what, cause, _STEP)
    return output


_STEP = "correct it in the network config, or on this host"


def _run(words: List[str], environment: Mapping[str, str], data: str, limit: float) -> Tuple[int, str]:
    """Files instead of pipes: what a command leaves in the background would keep a pipe open."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as sink:
        source.write(data.encode("utf-8", "surrogateescape") + b"\n")
        source.seek(0)
        process = subprocess.Popen(
            words, stdin=source, stdout=sink, stderr=sink, env=dict(environment), start_new_session=True
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        sink.seek(0)
        output = sink.read(_LONGEST_OUTPUT).decode("utf-8", "replace")
    return status, _EDGES.sub("", output)
