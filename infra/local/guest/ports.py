"""Which machine a port of 127.0.0.1 belongs to, where all guests share that one address.

A guest of Azure has an address of its own, so nobody takes its port while it restarts. Here a machine keeps its port while it is off: else
one that starts from a checkpoint, and still has the port of the machine that the checkpoint was taken of, would listen there meanwhile.
"""

from __future__ import annotations

import socket
import threading

from images.errors import BuildError


class PortInUseError(BuildError):
    """The port of a guest's listener is taken on this machine."""


class PortClaims:
    """One port a machine, kept from its first listening until the machine is forgotten. Safe to call from any thread.

    A claim is a socket that is bound but does not listen: connections to it are refused as those to a machine that is off, and the kernel
    gives its port to nobody who asks for a free one. SO_REUSEADDR lets a listener join it on Linux (socket(7): unless another one
    listens there already), and on Linux only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: dict[str, tuple[int, socket.socket]] = {}

    def claim(self, port: int, owner: str) -> None:
        """Make the port the machine's, in the place of the one that it had; raises PortInUseError when it is somebody else's."""
        with self._lock:
            had = self._claims.get(owner)
            if had is not None and had[0] == port:
                return
            for other, (taken, _) in self._claims.items():
                if taken == port:
                    raise _in_use(port, owner, f"it belongs to {other}")
            self._claims[owner] = port, _bound(port, owner)
        if had is not None:
            had[1].close()

    def release(self, owner: str) -> None:
        """The machine needs it no more; does nothing when it has none."""
        with self._lock:
            had = self._claims.pop(owner, None)
        if had is not None:
            had[1].close()

    def release_all(self) -> None:
        """The machines are gone."""
        for owner in list(self._claims):
            self.release(owner)


def _bound(port: int, owner: str) -> socket.socket:
    claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        claim.bind(("127.0.0.1", port))
    except OSError as error:
        claim.close()
        raise _in_use(port, owner, error.strerror or "") from error
    return claim


def _in_use(port: int, owner: str, why: str) -> PortInUseError:
    return PortInUseError(f"port {port} of 127.0.0.1 can not be used: {why}", where=owner, hint="choose a free port")
