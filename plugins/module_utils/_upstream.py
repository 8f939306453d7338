# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Another flanneld on a host: how its unit starts it, and which variables of the role flannel say the same (pure).

Another one is any flanneld that the role has not installed: upstream's package, or one put below /opt by hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._envfile import parse_env_file, split_words
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._goflags import FALSE, TRUE, split_flags, value_of
from ansible_collections.weft.flannel.plugins.module_utils._libraries import PROGRAM_DIRECTORY

UNITS = ("flanneld.service", "flannel.service")
"""The names under which it is looked for even where systemd has not loaded it."""
OUR_UNIT_FILE = "/etc/systemd/system/flanneld.service"
SUBNET_FILE = "/run/flannel/subnet.env"

_PROGRAM = re.compile(r"flanneld(-[A-Za-z0-9._]+)*\Z")
# What the unit starts, and what its process is then.
_OUR_PROGRAMS = (f"{PROGRAM_DIRECTORY}/flanneld", f"{PROGRAM_DIRECTORY}/flanneld.pyz")
# upstream's own defaults (spec 3.6) where the role has others
_ENDPOINTS = "http://127.0.0.1:4001,http://127.0.0.1:2379"
_HEALTHZ_IP = "0.0.0.0"

_TEXTS: Mapping[str, str] = {
    "etcd-prefix": "flannel_etcd_prefix",
    "etcd-cafile": "flannel_etcd_cafile",
    "etcd-certfile": "flannel_etcd_certfile",
    "etcd-keyfile": "flannel_etcd_keyfile",
    "etcd-username": "flannel_etcd_username",
    "iface-can-reach": "flannel_iface_can_reach",
    "public-ip": "flannel_public_ip",
    "public-ipv6": "flannel_public_ipv6",
}
_LISTS: Mapping[str, str] = {"iface": "flannel_iface", "iface-regex": "flannel_iface_regex"}
_NUMBERS: Mapping[str, str] = {"subnet-lease-renew-margin": "flannel_lease_renew_margin"}
_BOOLEANS: Mapping[str, str] = {
    "ip-masq": "flannel_ip_masq",
    "iptables-forward-rules": "flannel_iptables_forward_rules",
    "ip-blackhole-route": "flannel_blackhole_route",
}
# Our flanneld has these flags as well, the role has no variable for them.
_KEPT_AS_FLAGS = ("iptables-resync", "v")
_KEPT_AS_BOOLEANS = ("ip-masq-fully-random-disable",)
# How it logs, and what counts only with Kubernetes: no packet goes another way without them.
_OF_THE_LOG = (
    "add_dir_header", "alsologtostderr", "log_backtrace_at", "log_dir", "log_file", "log_file_max_size",
    "logtostderr", "one_output", "skip_headers", "skip_log_headers", "stderrthreshold", "vmodule",
)  # fmt: skip
_OF_KUBERNETES = (
    "kube-api-url", "kubeconfig-file", "kube-annotation-prefix", "net-config-path", "set-node-network-unavailable",
)  # fmt: skip
_ALL_BOOLEANS = frozenset(
    (
        *_BOOLEANS, *_KEPT_AS_BOOLEANS, "kube-subnet-mgr", "set-node-network-unavailable", "version", "help", "h",
        "add_dir_header", "alsologtostderr", "logtostderr", "one_output", "skip_headers", "skip_log_headers",
        "use-multi-cluster-cidr",
    )
)  # fmt: skip
_ALL_FLAGS = frozenset(
    (
        "etcd-endpoints", "etcd-endpoint", "etcd-password", "subnet-file", "healthz-ip", "healthz-port",
        "kube-subnet-mgr", *_TEXTS, *_LISTS, *_NUMBERS, *_BOOLEANS, *_KEPT_AS_FLAGS, *_KEPT_AS_BOOLEANS,
        *_OF_THE_LOG, *_OF_KUBERNETES,
    )
)  # fmt: skip
_ALL_NUMBERS = ("healthz-port", "iptables-resync", "v", *_NUMBERS)
# What the wrapper flanneld-start of Fedora and CentOS makes flags of, the newer name first (spec 3.4).
_VARIABLES_OF_WRAPPER: Mapping[str, Sequence[str]] = {
    "etcd-endpoints": ("FLANNEL_ETCD_ENDPOINTS", "FLANNEL_ETCD"),
    "etcd-prefix": ("FLANNEL_ETCD_PREFIX", "FLANNEL_ETCD_KEY"),
}


class UpstreamError(FlannelError):
    """It cannot be told how the other flanneld is started."""


@dataclass(frozen=True)
class Command:
    """What flanneld is started with. program: its path; arguments: the words behind it."""

    program: str
    arguments: Tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Problem:
    """What our flanneld would not do as the other one did. flag: without dashes; message: with the next step."""

    flag: str
    message: str


@dataclass(frozen=True)
class Settings:
    """variables: of the role flannel. notes: what is left out without harm."""

    variables: Mapping[str, Any]
    problems: Tuple[Problem, ...]
    notes: Tuple[str, ...]


# --- units


def is_ours(words: Sequence[str]) -> bool:
    """Whether a command starts the program that the role has installed."""
    return any(program in words for program in _OUR_PROGRAMS)


def find_program(words: Sequence[str]) -> Optional[int]:
    """Which word of a command is a flanneld, its wrapper flanneld-start included; None if none is, or it is ours."""
    if is_ours(words):
        return None
    for number, word in enumerate(words):
        if _PROGRAM.match(PurePosixPath(word).name):
            return number
    return None


def read_process(words: Sequence[str], environment: Mapping[str, str]) -> Optional[Command]:
    """The command of a process, None if it is no other flanneld."""
    number = find_program(words)
    if number is None:
        return None
    return Command(words[number], tuple(words[number + 1 :]), environment)


def read_unit_files(name: str, texts: Sequence[str], read_file: Callable[[str], Optional[str]]) -> Command:
    """The command that systemd would start (systemd.service(5)).

    texts: the unit file, then its drop-ins, in systemd's order. read_file: the text of an environment file, None if
    there is none. Raises UpstreamError.
    """
    settings: Dict[str, List[str]] = {"ExecStart": [], "Environment": [], "EnvironmentFile": []}
    for text in texts:
        for key, value in _read_service_section(text):
            if key in settings:
                # an empty value takes back what came before
                settings[key] = [*settings[key], value] if value else []
    environment: Dict[str, str] = {}
    for line in settings["Environment"]:
        for word in split_words(line):
            variable, equals, value = word.partition("=")
            if equals:
                environment[variable] = value
    for path in settings["EnvironmentFile"]:
        environment.update(parse_env_file(read_file(path.lstrip("-")) or ""))
    for line in settings["ExecStart"]:
        command = line.lstrip("@-:+!")
        words = tuple(_expand(split_words(command), environment))
        if "@" in line[: len(line) - len(command)]:
            # the second word is the name that the process gets
            words = (*words[:1], *words[2:])
        number = find_program(words)
        if number is not None:
            arguments = words[number + 1 :]
            _refuse_specifiers(name, arguments)
            return Command(words[number], arguments, environment)
    raise UpstreamError(
        f"unit {name}",
        "its ExecStart names no flanneld, but another program that starts one",
        "start the unit, so that the process tells; or set the variables of the role for this host, and replace "
        "ExecStart by the command of flanneld itself",
    )


def _read_service_section(text: str) -> Iterator[Tuple[str, str]]:
    """The settings of [Service], continued lines joined (systemd.syntax(7))."""
    section = ""
    for line in _join_lines(text):
        if line.startswith("[") and line.endswith("]"):
            section = line
        elif section == "[Service]" and "=" in line:
            key, _equals, value = line.partition("=")
            yield key.strip(), value.strip()


def _join_lines(text: str) -> Iterator[str]:
    joined = ""
    for line in text.splitlines():
        bare = line.strip()
        # comments may stand between the lines that a backslash joins
        if bare.startswith(("#", ";")):
            continue
        if bare.endswith("\\"):
            joined += bare[:-1] + " "
            continue
        yield (joined + bare).strip()
        joined = ""
    if joined:
        yield joined.strip()


def _expand(words: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """$NAME alone becomes words, ${NAME} stays within its own."""
    for word in words:
        alone = re.fullmatch(r"\$([A-Za-z_]\w*)", word)
        if alone:
            yield from split_words(environment.get(alone[1], ""))
        else:
            filled = re.sub(r"\$\{(\w+)\}", lambda match: environment.get(match[1], ""), word)
            yield filled.replace("$$", "$").replace("%%", "%")


def _refuse_specifiers(name: str, arguments: Sequence[str]) -> None:
    for argument in arguments:
        if re.search("%[A-Za-z]", argument):
            raise UpstreamError(
                f"unit {name}",
                f"{argument.partition('=')[0]} has a specifier of systemd, which only a running process tells",
                "start the unit, or write the value out",
            )


# --- its settings


def translate(command: Command) -> Settings:
    """The variables of the role with which our flanneld does the same. No secret is in what is returned."""
    given, problems = _collect_flags(command)
    if _is_true(given, "kube-subnet-mgr"):
        problems.append(
            Problem(
                "kube-subnet-mgr",
                "--kube-subnet-mgr: Kubernetes keeps the leases of this host, and weft.flannel reads etcd only; leave "
                "the host as it is",
            )
        )
    if given.get("subnet-file", [SUBNET_FILE])[-1] != SUBNET_FILE:
        problems.append(
            Problem(
                "subnet-file",
                f"--subnet-file={given['subnet-file'][-1]}: the role writes {SUBNET_FILE}; have what reads the file "
                "read that one, and name subnet-file in flannel_migrate_leave_out",
            )
        )
    notes = [
        f"--{flag} is left out: it has no effect on packets"
        for flag in given
        if flag in (*_OF_THE_LOG, *_OF_KUBERNETES)
    ]
    if "etcd-password" in given:
        notes.append("--etcd-password is a secret and is not shown: set flannel_etcd_password")
    return Settings(_choose_variables(given), tuple(problems), tuple(notes))


def _collect_flags(command: Command) -> Tuple[Dict[str, List[str]], List[Problem]]:
    """The values of each flag that is set, from the command line, else from FLANNELD_* (spec 3.5)."""
    given: Dict[str, List[str]] = {}
    problems: List[Problem] = []
    for name, words in split_flags(command.arguments, _ALL_BOOLEANS):
        if name in ("", "version", "help", "h"):
            continue
        if not words[0].startswith("-"):
            problems.append(
                Problem(
                    words[0],
                    f"{words[0]!r} is no flag, and this flanneld ignores all that comes behind it; correct its command "
                    "line first (a boolean needs the '=': --ip-masq=false)",
                )
            )
        elif name not in _ALL_FLAGS:
            problems.append(
                Problem(
                    name,
                    f"--{name}: weft.flannel's flanneld has no such flag; name it in flannel_migrate_leave_out if it "
                    "can be left out",
                )
            )
        else:
            value = value_of(words) or ("true" if name in _ALL_BOOLEANS else "")
            if value:
                given.setdefault(name, []).append(value)
    for name in _ALL_FLAGS - given.keys():
        value = command.environment.get("FLANNELD_" + name.upper().replace("-", "_"), "")
        if value:
            given[name] = [value]
    if PurePosixPath(command.program).name != "flanneld":
        _add_variables_of_wrapper(given, command.environment)
    if "etcd-endpoint" in given:
        given.setdefault("etcd-endpoints", given.pop("etcd-endpoint"))
    for name in [name for name, values in given.items() if not _is_readable(name, values[-1])]:
        value = given.pop(name)[-1]
        problems.append(
            Problem(name, f"--{name}={value}: this flanneld cannot read the value; correct it first")
        )
    return given, problems


def _is_readable(flag: str, value: str) -> bool:
    if flag in _ALL_BOOLEANS:
        return value in TRUE + FALSE
    return flag not in _ALL_NUMBERS or re.fullmatch("[0-9]+", value) is not None


def _add_variables_of_wrapper(given: Dict[str, List[str]], environment: Mapping[str, str]) -> None:
    for flag, names in _VARIABLES_OF_WRAPPER.items():
        value = next((environment[name] for name in names if environment.get(name)), "")
        if value and flag not in given:
            given[flag] = [value]


def _choose_variables(given: Mapping[str, Sequence[str]]) -> Dict[str, Any]:
    endpoints = given.get("etcd-endpoints", [_ENDPOINTS])[-1]
    variables: Dict[str, Any] = {
        "flannel_etcd_endpoints": [part.strip() for part in endpoints.split(",") if part.strip()],
        # upstream's default is another one than the role's
        "flannel_ip_masq": _is_true(given, "ip-masq"),
    }
    variables.update((name, given[flag][-1]) for flag, name in _TEXTS.items() if flag in given)
    variables.update((name, list(given[flag])) for flag, name in _LISTS.items() if flag in given)
    variables.update((name, int(given[flag][-1])) for flag, name in _NUMBERS.items() if flag in given)
    variables.update((name, _is_true(given, flag)) for flag, name in _BOOLEANS.items() if flag in given)
    port = int(given.get("healthz-port", ["0"])[-1])
    if port:
        variables["flannel_healthz_port"] = port
        variables["flannel_healthz_ip"] = given.get("healthz-ip", [_HEALTHZ_IP])[-1]
    extra = [f"--{flag}={given[flag][-1]}" for flag in _KEPT_AS_FLAGS if flag in given]
    extra += [f"--{flag}" for flag in _KEPT_AS_BOOLEANS if _is_true(given, flag)]
    if extra:
        variables["flannel_extra_args"] = extra
    return variables


def _is_true(given: Mapping[str, Sequence[str]], flag: str) -> bool:
    return flag in given and given[flag][-1] in TRUE
