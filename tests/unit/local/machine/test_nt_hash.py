"""MD4 and the NT hash against published values."""

from __future__ import annotations

import pytest

from infra.local.machine.nt_hash import md4, nt_hash


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4_gives_the_digests_of_rfc_1320(data: bytes, digest: str) -> None:
    assert md4(data).hex() == digest


def test_nt_hash_is_that_of_ms_nlmp() -> None:
    # [MS-NLMP] 4.2.2.1.2, the password "Password".
    assert nt_hash("Password").hex() == "a4f49c406510bdcab6824ee7c30fd852"
