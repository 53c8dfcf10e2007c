"""What crossed the links of a build adds up."""

from __future__ import annotations

from infra.guest.traffic import LinkTraffic, TrafficMeter


def test_traffic_of_several_guests_adds_up() -> None:
    first, second = TrafficMeter(), TrafficMeter()
    for meter in (first, second):
        meter.request(100)
        meter.answer(30)
    first.shell()
    second.reconnect()
    assert first.total + second.total == LinkTraffic(round_trips=2, sent_bytes=200, received_bytes=60, shells=1, reconnects=1)
