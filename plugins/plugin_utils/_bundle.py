# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Packs flanneld and the rules it shares with the modules into the one file that hosts receive.

The archive is a zip application: `/usr/bin/python3 flanneld.pyz --version` runs it. Its bytes depend on the packed
sources alone (sorted names, one date, one mode, nothing compressed, so that no version of zlib shows), and its
name carries the version and a hash of them: equal names are equal programs.

As a program, with no Ansible installed: `python3 plugins/plugin_utils/_bundle.py build/flanneld.pyz`
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, List, Set

COLLECTION_ROOT = Path(__file__).resolve().parents[2]
AGENT_DIRECTORY = Path("roles/flannel/files/flanneld")
RULES_DIRECTORY = Path("plugins/module_utils")
RULES_PACKAGE = "ansible_collections/weft/flannel/plugins/module_utils"

SHEBANG = b"#!/usr/bin/python3\n"
ENTRY_POINT = b"""\
import os
import sys

# The same with byte code, made by the module flannel_bytecode. Where there is none that Python can read, this goes on.
compiled = os.path.realpath(sys.path[0]) + "c"
if os.path.exists(compiled):
    sys.path.insert(0, compiled)

from flanneld.cli import main

sys.exit(main())
"""
# The oldest date a zip can carry: sources have no dates, only content.
EPOCH = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o100644
DIRECTORY_MODE = 0o040755


@dataclass(frozen=True)
class Bundle:
    """One built archive: version of flanneld, the SHA-256 of the archive in hex, and its bytes."""

    version: str
    sha256: str
    content: bytes

    @property
    def file_name(self) -> str:
        """The name under which hosts keep it: flanneld-<version>-<first 12 digits of the hash>.pyz"""
        return f"flanneld-{self.version}-{self.sha256[:12]}.pyz"


def build_bundle(root: Path = COLLECTION_ROOT) -> Bundle:
    """Pack the agent and the rules found below the collection root.

    Raises FileNotFoundError if the tree holds no agent or no rules, ValueError if the agent names no version.
    """
    content = pack_members(collect_members(root))
    return Bundle(read_version(root), hashlib.sha256(content).hexdigest(), content)


def collect_members(root: Path) -> Dict[str, bytes]:
    """Name in the archive -> content, for every file the agent needs to run."""
    members = {"__main__.py": ENTRY_POINT}
    agent = root / AGENT_DIRECTORY
    for path in agent.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            members[f"flanneld/{path.relative_to(agent).as_posix()}"] = path.read_bytes()
    rules = root / RULES_DIRECTORY
    sources = [content for name, content in members.items() if name.endswith(".py")]
    for name in find_imported_rules(sources, rules):
        members[f"{RULES_PACKAGE}/{name}.py"] = (rules / f"{name}.py").read_bytes()
    for needed in ("flanneld/__init__.py", f"{RULES_PACKAGE}/_errors.py"):
        if needed not in members:
            raise FileNotFoundError(
                f"{root}: holds no {needed}; is this the root of the weft.flannel collection?"
            )
    # zipimport finds a package only where the archive has an __init__.py or an entry for its directory.
    for package in parents_of(RULES_PACKAGE):
        members.setdefault(f"{package}/__init__.py", b"")
    return members


def pack_members(members: Dict[str, bytes]) -> bytes:
    """The zip application as bytes: shebang, a directory entry for every parent, then the files, all sorted."""
    directories = {f"{parent}/" for name in members for parent in parents_of(name.rpartition("/")[0])}
    buffer = io.BytesIO()
    buffer.write(SHEBANG)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(directories | set(members)):
            archive.writestr(entry(name), members.get(name, b""))
    return buffer.getvalue()


def entry(name: str) -> zipfile.ZipInfo:
    """The zip header of one member; everything that could differ between machines is pinned."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system = 3  # Unix, also where the controller is something else
    info.external_attr = (DIRECTORY_MODE << 16 | 0x10) if name.endswith("/") else FILE_MODE << 16
    return info


def parents_of(path: str) -> List[str]:
    """The path itself and everything above it: "a/b" -> ["a", "a/b"]; "" -> []."""
    parts = path.split("/") if path else []
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def find_imported_rules(sources: Iterable[bytes], rules: Path) -> Set[str]:
    """Names of the module_utils that these sources import, and those import. What only modules use stays out: a
    change of it would give every host another program."""
    found: Set[str] = set()
    waiting = list(sources)
    while waiting:
        for name in list_imported_rules(waiting.pop()) - found:
            found.add(name)
            waiting.append((rules / f"{name}.py").read_bytes())
    return found


def list_imported_rules(source: bytes) -> Set[str]:
    """`from <rules>._lease import Lease` and `from <rules> import _lease` both give _lease."""
    package = RULES_PACKAGE.replace("/", ".")
    names: Set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == package:
                names.update(alias.name for alias in node.names)
            elif node.module.startswith(f"{package}."):
                names.add(node.module[len(package) + 1 :])
    return names


def read_version(root: Path) -> str:
    """__version__ of the agent, read without importing it (the controller need not have its libraries)."""
    source = root / AGENT_DIRECTORY / "__init__.py"
    found = re.search(r'^__version__ = "([^"]+)"$', source.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f'{source}: has no line __version__ = "..."; add it')
    return found.group(1)


def main(target: str) -> None:
    bundle = build_bundle()
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A rename, because an agent may be starting from the old one.
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_bytes(bundle.content)
    new.chmod(0o755)
    new.replace(path)
    print(f"{path}: {bundle.file_name}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: _bundle.py FILE.pyz")
    main(sys.argv[1])
