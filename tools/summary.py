# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""summary.py CLUSTER PORT_BASE: what `make demo` ends with.

Reads build/CLUSTER/connectivity.json, which molecule/site/verify.yml wrote.
"""

import json
import sys
from pathlib import Path
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parent.parent

HINTS = """
  log in        {ssh} -p {port} root@127.0.0.1      # {first}; the others: ports {other_ports}
  then look at  cat /run/flannel/subnet.env
                ip -details link show flannel.1; ip route; bridge fdb show dev flannel.1
                iptables-save | grep FLANNEL
                systemctl status flanneld docker; journalctl --unit flanneld
                docker exec weft-probe /usr/bin/python3 /probe.py ask {peer} {mtu}
  the store     ETCDCTL_API=3 ETCDCTL_CACERT=/etc/etcd/tls/ca.crt ETCDCTL_CERT=/etc/etcd/tls/root.crt \\
                ETCDCTL_KEY=/etc/etcd/tls/root.key etcdctl --endpoints https://{store}:2379 get --prefix / # on {first}
  run it again  make demo
  remove it     make demo-down
"""

Found = Dict[str, Dict[str, Any]]


def table(rows: List[List[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    )


def describe_answer(answer: Dict[str, Any]) -> str:
    return f"{answer['seen_as']}, {answer['round_trip_ms']:.2f} ms"


def matrix(found: Found) -> str:
    """One row for each asking container; in the cells, the address its server saw and the round trip."""
    hosts = list(found)
    outside = found[hosts[0]]["outside"]["address"]
    rows = [["from", "container", *(f"to {host}" for host in hosts), f"to {outside} (outside)"]]
    for host, row in found.items():
        cells = [describe_answer(row["answers"][peer]) if peer != host else "-" for peer in hosts]
        rows.append([host, row["container"], *cells, describe_answer(row["outside"])])
    return table(rows)


def main(cluster: str, port_base: int) -> None:
    found: Found = json.loads((ROOT / "build" / cluster / "connectivity.json").read_text())
    hosts = list(found)
    first, peer = found[hosts[0]], found[hosts[1]]
    ports = [str(port_base + number) for number in range(1, len(hosts) + 1)]
    mtu = first["mtu"]
    print("\nEvery container reaches every other. What each server saw, and the round trip:\n")
    print(matrix(found))
    print(
        f"\n  Between all of them {mtu} bytes pass unfragmented and {mtu + 1} do not; 100 MB arrived unchanged."
    )
    print(
        HINTS.format(
            ssh=f"ssh -i build/{cluster}/id_ed25519 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
            port=ports[0],
            other_ports=", ".join(ports[1:]),
            first=hosts[0],
            peer=peer["container"],
            mtu=mtu,
            store=first["host"],
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
