# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs for the kernel's own virtual machine (eBPF), written here and loaded at run time: no compiler, no file.

assembler.py      instructions with labels, to bytes
system_call.py    bpf(2): maps, programs, counters
udp_programs.py   what forwards for the backend udp, both directions
"""
