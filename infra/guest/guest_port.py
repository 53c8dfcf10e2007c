"""A WinRM port for each guest, where all guests share one address: the stand-in's are on 127.0.0.1."""

from __future__ import annotations

import itertools
import os
import socket

from images.errors import ConfigurationError

_FIRST, _COUNT = 20_000, 12_000
"""Below the ports that Linux (32768 and up, ip(7): ip_local_port_range) and macOS give to whoever asks for a free one.

From the choice of a port to the guest's first listening a VM is made: a port of theirs could be somebody else's by then.
"""
_STEP = 97
"""So far apart processes begin, unless their ids differ by a multiple of 123; a process makes fewer guests than that at a time."""
_offsets = itertools.count(os.getpid() % (_COUNT // _STEP) * _STEP)


def guest_port() -> int:
    """A port on 127.0.0.1 that nobody has, and that this process gave to no guest for a long time; ConfigurationError without one."""
    for offset in itertools.islice(_offsets, _COUNT):
        port = _FIRST + offset % _COUNT
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise ConfigurationError(
        f"no port from {_FIRST} to {_FIRST + _COUNT - 1} is free on 127.0.0.1",
        hint="end some of the stand-in's machines: winvhd local down",
    )
