# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The path of the backend `udp` in user space: packets from a TUN to a UDP socket and back (spec 5.4).

    TUN --> segmentation --> rules --> socket     loop.py reads and writes, in one thread
    TUN <-- coalescing   <-- rules <-- socket     the rest is pure

Wire format: a datagram is one bare IPv4 packet. The kernel may take many of one size in one call (UDP_SEGMENT) or
hand many over in one (UDP_GRO); on the wire they are single, as upstream's proxy expects them.
"""
