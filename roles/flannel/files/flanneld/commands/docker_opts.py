# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`flanneld docker-opts`: upstream's mk-docker-opts.sh (spec 3.3), byte for byte where that can be relied on.

Not taken over from it:
- the look at the routes of 0.18.0. It took any line of `ip route` that contains the text of the subnet and the word
  "via" (110.1.74.0/24, or flannel's own routes) for a conflict, and only after the file had been written, so Docker
  started with it anyway. `flanneld check` looks for a route that really takes our subnet away.
- what its `set | grep` made of variables with blanks: the pieces of their values as variables of their own.
"""

from __future__ import annotations

import getopt
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError

from flanneld.commands.settings import read_settings
from flanneld.outputs.files import FileError, write_atomically

USAGE = """\
flanneld docker-opts [-f FLANNEL-ENV-FILE] [-d DOCKER-ENV-FILE] [-i] [-c] [-m] [-k COMBINED-KEY] [flags of flanneld]

Generate Docker daemon options based on flannel env file
OPTIONS:
\t-f\tPath to flannel env file. Defaults to /run/flannel/subnet.env, or where flanneld writes it on this host
\t-d\tPath to Docker env file to write to. Defaults to /run/docker_opts.env
\t-i\tOutput each Docker option as individual var. e.g. DOCKER_OPT_MTU=1500
\t-c\tOutput combined Docker options into DOCKER_OPTS var
\t-k\tSet the combined options key to this value (default DOCKER_OPTS=)
\t-m\tDo not output --ip-masq (useful for older Docker version)
"""
_MARK = "DOCKER_OPT_"


class DockerOptionsError(FlannelError):
    """The options of Docker cannot be made from what subnet.env says."""


@dataclass(frozen=True)
class Request:
    """subnet_env "": where the settings of the service say. individual, combined: which of the two is written.
    masquerade: tell Docker whether to masquerade."""

    subnet_env: str = ""
    target: str = "/run/docker_opts.env"
    individual: bool = True
    combined: bool = True
    key: str = "DOCKER_OPTS"
    masquerade: bool = True


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Write the file. Exit code 1 for whatever is wrong with the arguments or subnet.env, as the script."""
    try:
        request, flags = parse_request(arguments)
    except getopt.GetoptError as error:
        print(f"flanneld docker-opts: {error.msg}\n{USAGE}" if error.opt else USAGE, file=sys.stderr, end="")
        return 1
    path = Path(request.subnet_env or read_settings(flags, environment).options.subnet_file)
    try:
        variables = {**environment, **read_shell_variables(path)}
        text = render_options(request, variables)
    except DockerOptionsError as error:
        print(f"flanneld docker-opts: {error}", file=sys.stderr)
        return 1
    _write(Path(request.target), text)
    return 0


def parse_request(arguments: Sequence[str]) -> Tuple[Request, List[str]]:
    """What the script's options ask for, and the flags of flanneld (those with two dashes).

    Raises GetoptError; with an empty opt when the usage was asked for.
    """
    flags = [argument for argument in arguments if argument.startswith("--")]
    given, _ignored = getopt.getopt([a for a in arguments if a not in flags], "f:d:icmk:?h")
    options = dict(given)
    if "-h" in options or "-?" in options or "--help" in flags:
        raise getopt.GetoptError("", "")
    both = "-i" not in options and "-c" not in options
    request = Request(
        subnet_env=options.get("-f", ""),
        target=options.get("-d", Request.target),
        individual=both or "-i" in options,
        combined=both or "-c" in options,
        key=options.get("-k", Request.key),
        masquerade="-m" not in options,
    )
    return request, flags


def read_shell_variables(path: Path) -> Dict[str, str]:
    """What a shell would set on reading the file; nothing when there is none. Raises DockerOptionsError."""
    if not path.is_file():
        return {}
    try:
        words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    except (OSError, ValueError) as error:
        raise DockerOptionsError(str(path), f"it cannot be read: {error}", "restart flanneld") from error
    pairs = (word.partition("=") for word in words)
    return {name: value for name, equals, value in pairs if equals and name.isidentifier()}


def render_options(request: Request, variables: Mapping[str, str]) -> str:
    """The text of the file. variables: the environment, with subnet.env on top. Raises DockerOptionsError."""
    options = {
        **{name: value for name, value in variables.items() if _MARK in name or _MARK in value},
        **_make_options(request, variables),
    }
    options = {name: " ".join(options[name].split()) for name in sorted(options)}
    before = variables.get(request.key, "")
    combined = (f"{before} " if before else "") + "".join(f" {value}" for value in options.values())
    lines = [f'{name}="{value}"\n' for name, value in options.items()] if request.individual else []
    return "".join([*lines, f'{request.key}="{combined}"\n' if request.combined else ""])


def _make_options(request: Request, variables: Mapping[str, str]) -> Dict[str, str]:
    options: Dict[str, str] = {}
    if variables.get("FLANNEL_SUBNET"):
        options["DOCKER_OPT_BIP"] = f"--bip={variables['FLANNEL_SUBNET']}"
    if variables.get("FLANNEL_MTU"):
        options["DOCKER_OPT_MTU"] = f"--mtu={variables['FLANNEL_MTU']}"
    masquerades = variables.get("FLANNEL_IPMASQ", "")
    if masquerades and request.masquerade:
        if masquerades not in ("true", "false"):
            raise DockerOptionsError(
                "FLANNEL_IPMASQ", f"Invalid value of FLANNEL_IPMASQ: {masquerades}", "use true or false"
            )
        # Exactly one of the two masquerades.
        options["DOCKER_OPT_IPMASQ"] = f"--ip-masq={'false' if masquerades == 'true' else 'true'}"
    return options


def _write(path: Path, text: str) -> None:
    """Raises FileError. Only a plain file is replaced: a link (/dev/stdout is one), device or pipe is written to."""
    if not path.is_symlink() and (path.is_file() or not path.exists()):
        write_atomically(path, text, 0o644)
        return
    try:
        with path.open("w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise FileError(
            str(path), f"it cannot be written: {error.strerror}", "name another with -d"
        ) from error
