"""A packet filter that drops new connection attempts to a listening socket (decision 25).

Linux runs a classic BPF program on each segment that reaches the socket. The program drops those
with SYN and without ACK, which begin a handshake, so handshakes in progress can finish and no
other begins. A client that was dropped repeats its SYN after one second.
"""

import ctypes
import socket
import struct

SO_ATTACH_FILTER = 26
# (code, jump if true, jump if false, operand), as in Linux's struct sock_filter.
PROGRAM = (
    (0x30, 0, 0, 13),  # load byte 13 of the TCP header: the flags
    (0x54, 0, 0, 0x12),  # keep SYN (0x02) and ACK (0x10)
    (0x15, 0, 1, 0x02),  # only SYN?
    (0x06, 0, 0, 0),  # then return 0: drop the segment
    (0x06, 0, 0, 0xFFFFFFFF),  # else return all of its bytes: keep it
)


def attach(listener: socket.socket) -> None:
    """Attach the filter. Raises OSError where the platform has no such option."""
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in PROGRAM)
    buffer = ctypes.create_string_buffer(program)
    # struct sock_fprog: the number of instructions and their address.
    described = struct.pack("HL", len(PROGRAM), ctypes.addressof(buffer))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
