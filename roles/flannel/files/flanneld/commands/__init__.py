# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `flanneld <command>` offers besides running the agent. This file imports nothing, so that a look costs nothing.

Every command is a module with `run(arguments, environment) -> exit code`; arguments are those after its name. A
FlannelError that it raises is for the caller to print; docs/exit-codes.md says which exit code it becomes.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Mapping


@dataclass(frozen=True)
class Command:
    """module: where its `run` is. help: what it does, in one line."""

    module: str
    help: str


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "status": Command(
            "flanneld.commands.status", "how the running agent is, and what to do if it is not well"
        ),
        "check": Command("flanneld.commands.check", "look for every known cause of trouble on this host"),
        "cleanup": Command(
            "flanneld.commands.cleanup", "remove what the stopped agent has left on this host"
        ),
        "docker-opts": Command(
            "flanneld.commands.docker_opts", "write Docker's options, as mk-docker-opts.sh does"
        ),
        "network": Command(
            "flanneld.commands.network", "make the network `flannel` of podman or nerdctl from subnet.env"
        ),
        "dump": Command("flanneld.commands.dump", "collect everything for a support case, without secrets"),
    }
)
