# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading the etcd3 library: late, with a protobuf that it can use, and without a word on stderr.

Every test needs a fresh interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.certs import CertificateAuthority
from tests.support.etcd import EtcdServer, ServerTLS

pytestmark = pytest.mark.newest

STORE = "from ansible_collections.weft.flannel.plugins.module_utils._store import StoreOptions, open_store\n"


def run_python(program, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def test_importing_the_store_does_not_import_the_library():
    done = run_python(
        STORE + "import sys; print([n for n in ('etcd3', 'grpc', 'google.protobuf') if n in sys.modules])"
    )
    assert done.stdout == "[]\n", done.stderr


def test_protobuf_is_slow_only_where_it_must_be():
    """upb fails with etcd3; the C++ implementation, where there is one, is kept."""
    done = run_python(
        STORE
        + "open_store(StoreOptions(('127.0.0.1:1',)))\n"
        + "from google.protobuf.internal import api_implementation\n"
        + "import google.protobuf\n"
        + "try:\n    import google.protobuf.pyext._message\n    best = 'cpp'\n"
        + "except ImportError:\n    best = 'python'\n"
        + "print(api_implementation.Type() == best)\n"
    )
    assert done.stdout == "True\n", done.stderr


def test_a_missing_library_names_its_packages():
    done = run_python(
        "import sys; sys.modules['etcd3'] = None\n"
        + STORE
        + "try:\n    open_store(StoreOptions(('127.0.0.1:1',)))\n"
        + "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    assert done.stdout.startswith("StoreLibraryMissing Python library etcd3: cannot be imported"), done.stderr
    assert "python3-etcd3" in done.stdout


def test_a_protobuf_that_was_loaded_wrongly_names_the_switch():
    done = run_python(
        "from google.protobuf import descriptor\n"
        + "from google.protobuf.internal import api_implementation\n"
        + STORE
        + "try:\n    open_store(StoreOptions(('127.0.0.1:1',)))\n    print('loaded')\n"
        + "except Exception as error:\n    print(type(error).__name__, error)\n"
        + "print(api_implementation.Type())\n"
    )
    outcome, implementation = done.stdout.splitlines()
    if implementation == "upb":
        assert outcome.startswith("StoreLibraryMissing")
        assert "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python" in outcome
    else:
        assert outcome == "loaded", done.stderr


def test_nothing_is_written_to_stderr_while_etcd_comes_and_goes(server):
    program = STORE + (
        "import sys, threading\n"
        "options = StoreOptions((sys.argv[1], 'http://127.0.0.1:1', 'https://127.0.0.1:1'))\n"
        "store = open_store(options)\n"
        "store.create('/key', b'value')\n"
        "watch = store.watch('/', 1, threading.Event())\n"
        "next(watch)\n"
        "print('watching', flush=True)\n"
        "for call in (lambda: next(watch), lambda: store.get('/key'), lambda: store.get('/key')):\n"
        "    try:\n        call()\n"
        "    except Exception as error:\n        print(type(error).__name__, flush=True)\n"
        "store.close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, server.endpoint],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout.readline() == "watching\n"
        server.kill()
        output, noise = client.communicate(timeout=30)
    assert output.split() == ["StoreUnavailable"] * 3
    assert noise == ""


def test_nothing_is_written_to_stderr_when_a_handshake_fails(tmp_path, authority):
    pair = authority.issue("handshake", ["127.0.0.1"])
    stranger = CertificateAuthority(tmp_path / "stranger", "stranger")
    with EtcdServer(tmp_path / "etcd", tls=ServerTLS(authority.cert, pair.cert, pair.key)) as server:
        done = run_python(
            STORE
            + "import sys\n"
            + "store = open_store(StoreOptions((sys.argv[1],), ca_cert=sys.argv[2]))\n"
            + "try:\n    store.get('/key')\n"
            + "except Exception as error:\n    print(type(error).__name__)\n",
            server.endpoint,
            str(stranger.cert),
        )
    assert (done.stdout, done.stderr) == ("StoreTLSError\n", "")
