"""The boot test counts a VM's requests in the origin's own log, and says so when it can not read that."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from images.errors import BootTestError
from infra.azure.vm_request import BuildVm
from tasks.boot_test import requests_of
from tasks.build import Build
from tests.unit.fetch.serving import Answer, Server

VM = cast(BuildVm, SimpleNamespace(vm_id="/subscriptions/s/vm1"))


def _build(url: str | None) -> Build:
    profile: Any = SimpleNamespace(origin_log_url=url)
    return cast(Build, SimpleNamespace(cloud=SimpleNamespace(profile=profile)))


def test_only_the_requests_of_this_vm_count(origin: Server) -> None:
    clients = ["winvhd-guest/subscriptions/s/VM1", "winvhd-guest/subscriptions/s/vm2", "winvhd-guest/subscriptions/s/vm1"]
    log = "\n".join(json.dumps({"client": client}) for client in clients)
    assert requests_of(_build(origin.on("/log", Answer(log.encode()))), VM) == 2
    assert requests_of(_build(None), VM) is None


@pytest.mark.parametrize("answer", [Answer(status=500), Answer(b"not json"), Answer(b"{}"), Answer(b"[]"), Answer(b"short", cut_at=2)])
def test_a_log_that_can_not_be_read_is_a_failed_boot_test(origin: Server, answer: Answer) -> None:
    with pytest.raises(BootTestError, match="request log") as caught:
        requests_of(_build(origin.on("/log", answer)), VM)
    assert "winvhd local status" in caught.value.hint


def test_an_origin_that_is_gone_is_a_failed_boot_test() -> None:
    with pytest.raises(BootTestError, match="ConnectError"):
        requests_of(_build("http://127.0.0.1:9/log"), VM)
