"""Where a guest answers, and the only certificate and account that the link accepts there."""

from __future__ import annotations

from pydantic import Field, SecretStr

from images.frozen import Frozen


class GuestEndpoint(Frozen):
    """What first contact gives back. The password lives in memory only: a worker that takes over makes first contact again."""

    address: str = Field(description="IP address or host name that is dialled; the certificate's SAN holds it.")
    port: int = Field(ge=1, le=65535)
    certificate: str = Field(description="The listener's certificate as PEM: the only one that is trusted.")
    thumbprint: str = Field(description="SHA-1 of the certificate's DER form in upper-case hex, as Windows' certificate store names it.")
    account: str
    password: SecretStr

    @property
    def url(self) -> str:
        """The address of the WS-Management service."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"https://{host}:{self.port}/wsman"
