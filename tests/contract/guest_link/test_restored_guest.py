"""First contact with a VM whose disk comes from a checkpoint: stale answers, an old password, scripts and a listener of another life."""

from __future__ import annotations

import json

import pytest

from images.errors import GuestLinkError, StageError
from images.stages.contract import NoInput
from images.stages.finish import CLEAR_LEFTOVERS, CLEAR_RUN_COMMAND, SET_IDENTITY, ClearRunCommandResult, VhdIdentityInput
from images.stages.link import START_TASK, StartTaskInput, StartTaskResult
from images.stages.system import INSTALL_FEATURE, FeatureInput
from infra.guest.contact import first_contact
from infra.guest.endpoint import GuestEndpoint
from infra.guest.faults import GuestSilentError, LinkRefusedError, PasswordRefusedError
from infra.guest.link import GuestLink
from infra.guest.package import SCRIPTS_FOLDER
from infra.local.contracts import RunCommandOutcome
from infra.local.machine.accounts import check_password
from infra.local.machine.remoting import certificates, listeners
from tests.contract.guest_link.build_guest import LIMITS, BuildGuest, wait_for

VHD_ID = "5f0ac6e9-4a2b-4f5c-9d5e-0123456789ab"


def test_restored_guest_answers_stale_once_and_is_asked_again(build: BuildGuest) -> None:
    old = build.contact()
    with GuestLink(old, limits=LIMITS) as link:
        link.run_stage(SET_IDENTITY, VhdIdentityInput(vhd_id=VHD_ID), run_id="before")
    build.restore()
    answers: list[RunCommandOutcome] = []

    def recorded(*arguments: object) -> RunCommandOutcome:
        answers.append(build.run_command(*arguments))  # type: ignore[arg-type]
        return answers[-1]

    new = first_contact(recorded, "127.0.0.1", build.port, pause_s=0.05)
    assert [json.loads(answer.output)["thumbprint"] for answer in answers] == [old.thumbprint, new.thumbprint]
    with GuestLink(new, limits=LIMITS) as link:
        assert link.run_stage(SET_IDENTITY, VhdIdentityInput(vhd_id=VHD_ID), run_id="after").changed is False
        assert list(certificates(build.disk)) == [new.thumbprint]
        assert len(listeners(build.disk)) == 1
    for endpoint in (old, new.model_copy(update={"password": old.password})):
        limits = LIMITS.model_copy(update={"reconnect_s": 0.5})
        with GuestLink(endpoint, limits=limits) as link, pytest.raises((LinkRefusedError, GuestSilentError)):
            link.state()


def test_restored_guest_that_is_only_asked_once_is_not_believed(build: BuildGuest) -> None:
    build.contact()
    build.restore()
    with pytest.raises(GuestLinkError, match="the status of an older command"):
        first_contact(build.run_command, "127.0.0.1", build.port, attempts=1)


def test_leftovers_cleared_before_the_checkpoint_leave_nothing_stale(build: BuildGuest) -> None:
    with GuestLink(build.contact(), limits=LIMITS) as link:
        link.run_stage(CLEAR_LEFTOVERS, NoInput(), run_id="clear")
    assert list(build.disk.path(r"C:\Packages\Plugins").iterdir()) == []
    build.restore()
    assert first_contact(build.run_command, "127.0.0.1", build.port, attempts=1).port == build.port


def test_checkpoint_that_was_prepared_answers_nothing_stale_and_the_link_goes_on(build: BuildGuest) -> None:
    old = build.contact()
    with GuestLink(old, limits=LIMITS) as link:
        removed = link.run_stage(CLEAR_RUN_COMMAND, NoInput(), run_id="checkpoint")
        assert isinstance(removed, ClearRunCommandResult)
        assert {path.rsplit("\\", 1)[-1] for path in removed.removed} == {"script1.ps1", "1.status"}
        # The VM that goes on needs no first contact.
        assert link.restart().pending_reboot is False
        assert link.endpoint == old
        assert link.run_stage(CLEAR_RUN_COMMAND, NoInput(), run_id="checkpoint-2").changed is False
    build.restore()
    new = first_contact(build.run_command, "127.0.0.1", build.port, attempts=1)
    assert list(certificates(build.disk)) == [new.thumbprint]
    assert not check_password(build.disk, old.account, old.password.get_secret_value())


def test_no_checkpoint_is_prepared_while_a_stage_runs(build: BuildGuest) -> None:
    build.fail("guest.stage", "hang")
    with GuestLink(build.contact(), limits=LIMITS) as link:
        start = StartTaskInput(run_id="slow", script=INSTALL_FEATURE.script, input={"features": ["Containers"]}, timeout_s=60)
        link.upload_scripts()
        assert link._runner.ask(START_TASK, start, StartTaskResult).started
        with pytest.raises(StageError) as caught:
            link.run_stage(CLEAR_RUN_COMMAND, NoInput(), run_id="checkpoint")
    assert caught.value.code == "stage-running"


def test_guest_that_restarts_keeps_its_port_when_one_restored_from_it_boots_meanwhile(build: BuildGuest) -> None:
    copies: list[str] = []
    with GuestLink(build.contact(), limits=LIMITS) as link:
        link.reboot_around(lambda: copies.append(build.copy_boots_while_off()))
        build.host.remove(build.vm_id)
        # Its port is free once it is gone, and the other one may have it.
        build.host.restart(copies[0])
        assert link.state().boot_time


def test_run_command_leaves_script_and_status_but_no_password(build: BuildGuest) -> None:
    endpoint = build.contact()
    wait_for(lambda: build.host.agent_ready(build.vm_id))
    files = {path.name: path.read_bytes() for path in build.disk.path(r"C:\Packages\Plugins").rglob("*") if path.is_file()}
    assert set(files) == {"script1.ps1", "1.status"}
    assert files["script1.ps1"].decode() == (SCRIPTS_FOLDER / "Enable-BuildRemoting.ps1").read_text(encoding="utf-8-sig")
    assert not any(endpoint.password.get_secret_value().encode() in content for content in files.values())
    left = json.loads(files["1.status"])[0]["status"]
    assert (left["code"], left["status"]) == (0, "success")
    assert endpoint.thumbprint in left["formattedMessage"]["message"]


def test_password_that_expires_in_mid_build_is_renewed_and_nothing_runs_twice(build: BuildGuest) -> None:
    renewals: list[str] = []

    def renew() -> GuestEndpoint:
        endpoint = build.contact()
        renewals.append(endpoint.thumbprint)
        return endpoint

    with GuestLink(build.contact(), limits=LIMITS, renew=renew) as link:
        link.upload_scripts()
        for changes in (True, False):
            build.expire_password()
            stage = link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Containers",)), run_id=f"feature-{changes}")
            assert stage.changed is changes
        assert link.endpoint.thumbprint == renewals[-1]
        build.expire_password()
        link.wait_until_ready()
    assert len(renewals) == 3


def test_guest_that_refuses_every_password_is_given_up(build: BuildGuest) -> None:
    def renew() -> GuestEndpoint:
        endpoint = build.contact()
        build.expire_password()
        return endpoint

    with GuestLink(build.contact(), limits=LIMITS, renew=renew) as link:
        link.upload_scripts()
        build.expire_password()
        with pytest.raises(PasswordRefusedError):
            link.state()
