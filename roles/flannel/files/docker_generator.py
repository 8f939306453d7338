# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd generator: appends flannel's options to whatever command this host starts dockerd with.

systemd has no way to add an argument to ExecStart from a drop-in; a drop-in can only replace the whole command. A
replacement that is written down once goes stale when the Docker package, the operator or the vendor changes the
command, and cannot be written at all before Docker is installed. So it is derived here, at boot and at every
daemon-reload (which installing a package does), from the unit files as they are at that moment.

See systemd.generator(7): nothing but files may be used at this point.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

UNIT = "docker.service"
# systemd.unit(5), "Unit File Load Path", without the directories of other generators.
LOAD_PATH = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
# Sorts after the names people give drop-ins, override.conf of `systemctl edit` among them: the last ExecStart counts.
DROP_IN = "zz-flannel.conf"
# Each is one word or, before subnet.env has been read, none: systemd drops an unset variable that stands alone.
OPTIONS = "$DOCKER_OPT_BIP $DOCKER_OPT_IPMASQ $DOCKER_OPT_MTU"


def find_unit_files(load_path: Sequence[Path]) -> List[Path]:
    """The files that make up the unit, in the order in which they count; empty if it is absent or masked."""
    main = next(
        (path / UNIT for path in load_path if (path / UNIT).is_file() or (path / UNIT).is_symlink()), None
    )
    if main is None or not main.is_file():
        return []
    drop_ins: Dict[str, Path] = {}
    for directory in reversed([path / f"{UNIT}.d" for path in load_path]):
        drop_ins.update({path.name: path for path in directory.glob("*.conf")})
    # is_file: a drop-in that links to /dev/null is masked
    return [main, *(path for name, path in sorted(drop_ins.items()) if name != DROP_IN and path.is_file())]


def join_lines(text: str) -> Iterator[str]:
    """The logical lines of a unit file: comments out, continuations joined with a blank."""
    begun = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith(("#", ";")):
            continue
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        yield (begun + line).strip()
        begun = ""
    yield begun.strip()


def read_commands(texts: Iterable[str]) -> List[str]:
    """Every ExecStart that is in force; an empty assignment forgets those before it."""
    commands: List[str] = []
    for text in texts:
        section = ""
        for line in join_lines(text):
            if line.startswith("["):
                section = line
            key, equals, value = (part.strip() for part in line.partition("="))
            if section == "[Service]" and equals and key == "ExecStart":
                commands = [*commands, value] if value else []
    return commands


def extend_command(commands: Sequence[str]) -> Tuple[Optional[str], str]:
    """(the drop-in's text, ""), or (None, why there can be none)."""
    if len(commands) != 1:
        return None, f"it has {len(commands)} ExecStart= commands where one is expected"
    if "dockerd" not in commands[0]:
        return None, f"its ExecStart= does not start dockerd: {commands[0]}"
    text = (
        "# Made from the other files of docker.service by the generator flannel-docker; do not edit.\n"
        f"[Service]\nExecStart=\nExecStart={commands[0]} {OPTIONS}\n"
    )
    return text, ""


def main(directory: Path, load_path: Sequence[Path]) -> None:
    files = find_unit_files(load_path)
    if not files:
        return
    drop_in, reason = extend_command(read_commands(path.read_text(encoding="utf-8") for path in files))
    if drop_in is None:
        print(f"flannel-docker: {UNIT} gets no flannel options: {reason}", file=sys.stderr)
        return
    target = directory / f"{UNIT}.d"
    target.mkdir(parents=True, exist_ok=True)
    (target / DROP_IN).write_text(drop_in, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(path) for path in LOAD_PATH])
