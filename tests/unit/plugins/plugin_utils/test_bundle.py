# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive is the same everywhere, and the host's Python finds everything in it."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.weft.flannel.plugins.plugin_utils import _bundle
from ansible_collections.weft.flannel.plugins.plugin_utils._bundle import COLLECTION_ROOT, build_bundle

SCRIPT = COLLECTION_ROOT / "plugins/plugin_utils/_bundle.py"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A collection that holds just enough to be packed."""
    for name, text in {
        "roles/flannel/files/flanneld/__init__.py": '"""Agent."""\n\n__version__ = "1.2.3"\n',
        "roles/flannel/files/flanneld/cli.py": (
            "from ansible_collections.weft.flannel.plugins.module_utils._errors import GREETING\n"
            "from flanneld.tables.link import NAME\n"
            "def main():\n    print(GREETING, NAME)\n    return 7\n"
        ),
        "roles/flannel/files/flanneld/tables/__init__.py": "",
        "roles/flannel/files/flanneld/tables/link.py": "NAME = 'link'\n",
        "plugins/module_utils/_errors.py": "GREETING = 'hello'\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def names(content: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(content)).namelist()


def test_archive_runs_and_passes_the_exit_code_on(tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "flanneld.pyz"
    archive.write_bytes(build_bundle(tree).content)
    run = subprocess.run([sys.executable, "-I", archive], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr, run.returncode) == ("hello link\n", "", 7)


def test_same_bytes_whatever_the_tree_went_through(tree: Path, tmp_path: Path) -> None:
    first = build_bundle(tree)
    copy = tmp_path / "copy"
    for part in ("roles", "plugins"):
        shutil.copytree(tree / part, copy / part)
    for path in copy.rglob("*.py"):
        os.utime(path, (0, 0))
        path.chmod(0o600)
    caches = copy / "roles/flannel/files/flanneld/tables/__pycache__"
    caches.mkdir()
    (caches / "link.cpython-311.pyc").write_bytes(b"compiled")
    assert build_bundle(copy).content == first.content


def test_name_follows_version_and_content(tree: Path) -> None:
    before = build_bundle(tree)
    assert before.file_name == f"flanneld-1.2.3-{hashlib.sha256(before.content).hexdigest()[:12]}.pyz"
    (tree / "plugins/module_utils/_errors.py").write_text("GREETING = 'changed'\n", encoding="utf-8")
    assert build_bundle(tree).file_name != before.file_name


def test_what_the_agent_does_not_import_is_another_affair(tree: Path) -> None:
    before = build_bundle(tree)
    rules = tree / "plugins/module_utils"
    package = "ansible_collections.weft.flannel.plugins.module_utils"
    (rules / "_of_modules.py").write_text("", encoding="utf-8")
    assert build_bundle(tree).content == before.content
    # both forms of an import, of the agent and of what it imports; also inside a function
    (rules / "_errors.py").write_text(f"def ask():\n    from {package} import _store\n", encoding="utf-8")
    (rules / "_store.py").write_text(f"from {package}._etcd import Etcd\n", encoding="utf-8")
    (rules / "_etcd.py").write_text("Etcd = object\n", encoding="utf-8")
    packed = {
        name.rpartition("/")[2] for name in names(build_bundle(tree).content) if "module_utils/_" in name
    }
    assert packed == {"__init__.py", "_errors.py", "_store.py", "_etcd.py"}


def test_nothing_in_it_tells_the_machine() -> None:
    for info in zipfile.ZipFile(io.BytesIO(build_bundle().content)).infolist():
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert info.compress_type == zipfile.ZIP_STORED
        assert info.create_system == 3
        assert info.external_attr >> 16 in (0o100644, 0o040755)


def test_members_are_sorted_and_every_parent_has_an_entry() -> None:
    packed = names(build_bundle().content)
    assert packed == sorted(packed)
    files = [name for name in packed if not name.endswith("/")]
    parents = {f"{parent}/" for name in files for parent in _bundle.parents_of(name.rpartition("/")[0])}
    assert parents == {name for name in packed if name.endswith("/")}
    for package in _bundle.parents_of(_bundle.RULES_PACKAGE):
        assert f"{package}/__init__.py" in files


def test_carries_every_source_of_the_agent_and_its_rules() -> None:
    packed = set(names(build_bundle().content))
    agent = COLLECTION_ROOT / "roles/flannel/files/flanneld"
    assert {f"flanneld/{path.relative_to(agent).as_posix()}" for path in agent.rglob("*.py")} <= packed
    rules = ("_config", "_errors", "_etcd", "_lease", "_store", "_subnet")
    assert {f"{_bundle.RULES_PACKAGE}/{name}.py" for name in rules} <= packed


def test_works_as_a_program_without_ansible(tmp_path: Path) -> None:
    target = tmp_path / "new" / "flanneld.pyz"
    # -I: nothing but the standard library can be imported.
    subprocess.run([sys.executable, "-I", SCRIPT, target], check=True, capture_output=True)
    assert target.read_bytes() == build_bundle().content
    assert target.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "missing", ["roles/flannel/files/flanneld/__init__.py", "plugins/module_utils/_errors.py"]
)
def test_a_tree_without_agent_or_rules_is_refused(tree: Path, missing: str) -> None:
    (tree / missing).unlink()
    with pytest.raises(FileNotFoundError, match=Path(missing).name):
        build_bundle(tree)


def test_an_agent_without_version_is_refused(tree: Path) -> None:
    (tree / "roles/flannel/files/flanneld/__init__.py").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="__version__"):
        build_bundle(tree)
