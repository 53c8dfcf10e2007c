"""How much crossed the link: requests, bytes of the SOAP messages both ways, shells, connections that had to be made again."""

from __future__ import annotations

from images.frozen import Frozen


class LinkTraffic(Frozen):
    """A sum; bytes are those of the SOAP envelopes, without HTTP headers and TLS."""

    round_trips: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    shells: int = 0
    reconnects: int = 0

    def __add__(self, other: LinkTraffic) -> LinkTraffic:
        """The sum of two links, for a build that talks to several guests."""
        return LinkTraffic(
            round_trips=self.round_trips + other.round_trips,
            sent_bytes=self.sent_bytes + other.sent_bytes,
            received_bytes=self.received_bytes + other.received_bytes,
            shells=self.shells + other.shells,
            reconnects=self.reconnects + other.reconnects,
        )


class TrafficMeter:
    """Counts while a link is open; `total` is the sum so far."""

    def __init__(self) -> None:
        self.total = LinkTraffic()

    def request(self, sent_bytes: int) -> None:
        """One message went out."""
        self.total += LinkTraffic(round_trips=1, sent_bytes=sent_bytes)

    def answer(self, received_bytes: int) -> None:
        """One message, a fault too, came in."""
        self.total += LinkTraffic(received_bytes=received_bytes)

    def shell(self) -> None:
        """A shell was opened."""
        self.total += LinkTraffic(shells=1)

    def reconnect(self) -> None:
        """A connection was lost and is tried again."""
        self.total += LinkTraffic(reconnects=1)
