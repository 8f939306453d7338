# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the service on this host, so that a command needs none of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Sequence, Set, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._envfile import parse_env_file, split_words
from ansible_collections.weft.flannel.plugins.module_utils._goflags import split_flags, value_of

from flanneld.instance import DEFAULT, Instance
from flanneld.options import FLAGS, Options, UsageError, parse_options

_BOOLEANS = {flag.name for flag in FLAGS if isinstance(flag.default, bool)}
_SERVICE_FLAGS = "FLANNEL_OPTIONS"
_ETC = Path("/etc/flanneld")


@dataclass(frozen=True)
class Settings:
    """What the service starts with. source: where that was read, or why only defaults are known."""

    options: Options
    instance: Instance
    source: str


def take_switches(arguments: Sequence[str], names: Iterable[str]) -> Tuple[Set[str], List[str]]:
    """The command's own switches that were given, and the other arguments. names: without dashes."""
    names = set(names)
    given: Set[str] = set()
    rest: List[str] = []
    for argument in arguments:
        name = argument.lstrip("-")
        if argument.startswith("-") and name in names:
            given.add(name)
        else:
            rest.append(argument)
    return given, rest


def asks_for_help(arguments: Sequence[str]) -> bool:
    return any(argument in ("-h", "-help", "--help") for argument in arguments)


def read_settings(
    arguments: Sequence[str], environment: Mapping[str, str], directory: Path = _ETC
) -> Settings:
    """Flags given here count most, then those of the service, then FLANNELD_* given here, then those of its env file.

    directory: where the env files are. Raises UsageError.
    """
    instance = find_instance(arguments, environment)
    path = directory / Path(instance.env_file).name
    text, source = _read(path)
    variables = parse_env_file(text)
    given = {name for name, _words in split_flags(arguments, _BOOLEANS)}
    service = [
        word
        for name, words in split_flags(split_words(variables.get(_SERVICE_FLAGS, "")), _BOOLEANS)
        if name not in given
        for word in words
    ]
    merged: Dict[str, str] = {
        **variables,
        **environment,
        "FLANNELD_INSTANCE": instance.name,
    }
    return Settings(parse_options([*service, *arguments], merged), instance, source)


def find_instance(arguments: Sequence[str], environment: Mapping[str, str]) -> Instance:
    """The network that --instance or FLANNELD_INSTANCE names. Raises UsageError when it cannot be a name."""
    words = [words for name, words in split_flags(arguments, _BOOLEANS) if name == "instance"]
    given = [f"--instance={value_of(words[-1])}"] if words else []
    only = {"FLANNELD_INSTANCE": environment.get("FLANNELD_INSTANCE", DEFAULT)}
    return Instance(parse_options(given, only).instance)


def _read(path: Path) -> Tuple[str, str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace"), str(path)
    except FileNotFoundError:
        return "", f"defaults, because there is no {path}"
    except OSError as error:
        raise UsageError(str(path), f"it cannot be read: {error.strerror}", "run this as root") from error
