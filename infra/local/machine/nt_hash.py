"""The NT hash of a password: MD4 of its UTF-16LE form, which is what Windows keeps in the SAM and what NTLM is computed from.

[MS-NLMP] 3.3.1 (NTOWFv1) and RFC 1320; OpenSSL 3 has MD4 in a provider only that few installations load.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

_MASK = 0xFFFFFFFF
_INITIAL = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_ORDERS = (
    tuple(range(16)),
    (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
    (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15),
)
_SHIFTS = ((3, 7, 11, 19), (3, 5, 9, 13), (3, 9, 11, 15))
_CONSTANTS = (0, 0x5A827999, 0x6ED9EBA1)


def _choose(x: int, y: int, z: int) -> int:
    return (x & y) | (~x & z)


def _majority(x: int, y: int, z: int) -> int:
    return (x & y) | (x & z) | (y & z)


def _parity(x: int, y: int, z: int) -> int:
    return x ^ y ^ z


_MIXES: tuple[Callable[[int, int, int], int], ...] = (_choose, _majority, _parity)


def md4(data: bytes) -> bytes:
    """The 16 bytes of MD4, RFC 1320. Of use as a part of NTLM alone: it has been broken since 1995."""
    padded = data + b"\x80" + bytes((55 - len(data)) % 64) + struct.pack("<Q", 8 * len(data))
    state = _INITIAL
    for start in range(0, len(padded), 64):
        words = struct.unpack_from("<16I", padded, start)
        a, b, c, d = state
        for order, shifts, constant, mix in zip(_ORDERS, _SHIFTS, _CONSTANTS, _MIXES, strict=True):
            for step, index in enumerate(order):
                mixed = (a + mix(b, c, d) + words[index] + constant) & _MASK
                turn = shifts[step % 4]
                a, b, c, d = d, ((mixed << turn) | (mixed >> (32 - turn))) & _MASK, b, c
        state = tuple((old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True))  # type: ignore[assignment]
    return struct.pack("<4I", *state)


def nt_hash(password: str) -> bytes:
    """The 16 bytes that stand for a password in the SAM."""
    return md4(password.encode("utf-16-le"))
