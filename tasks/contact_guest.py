"""First contact with a VM: a pinned link with the scripts uploaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from pydantic import SecretStr

from images.errors import GuestLinkError, StageError
from infra.azure.profile import CloudProfile
from infra.azure.run_command import RunCommandResult, run_command
from infra.azure.vm_request import BuildVm
from infra.guest.contact import first_contact
from infra.guest.endpoint import GuestEndpoint
from infra.guest.faults import LinkStoppedError
from infra.guest.limits import LinkLimits
from infra.guest.link import GuestLink
from tasks.build import Build
from tasks.collect_guest_logs import keep_guest_logs

CONTACT_AGAIN_POLLS = 3
"""Poll intervals between two tries of first contact: an agent that has just started, or found an old status on its disk, needs a moment."""


@contextmanager
def contacted(build: Build, vm: BuildVm) -> Iterator[GuestLink]:
    """A link to the VM's guest; its traffic counts for the build, and the connection is closed at the end.

    Raises GuestLinkError when the guest does not answer as first contact asks, CloudError when Run Command is refused. The error of a guest
    that hangs says where its logs were kept.
    """

    def run(script: str, parameters: Mapping[str, str], protected: Mapping[str, SecretStr]) -> RunCommandResult:
        return run_command(build.cloud, vm, script, parameters, protected)

    def contact() -> GuestEndpoint:
        return first_contact(run, address=vm.address, port=vm.winrm_port, pause_s=CONTACT_AGAIN_POLLS * build.cloud.profile.poll_interval_s)

    with ExitStack() as stack:
        with build.timings.step(f"first contact ({vm.role} VM)"):
            link = GuestLink(contact(), limits=_limits(build.cloud.profile), stopping=build.stopping, renew=contact)
            stack.callback(_leave, build, link)
            link.upload_scripts()
        try:
            yield link
        except (GuestLinkError, StageError) as error:
            if _hangs(error):
                keep_guest_logs(error, build, vm)
            raise


@contextmanager
def another_link(build: Build, link: GuestLink) -> Iterator[GuestLink]:
    """One more link to the guest of a link, for what another thread does there; its traffic counts as well."""
    other = link.another()
    try:
        yield other
    finally:
        _leave(build, other)


def _hangs(error: GuestLinkError | StageError) -> bool:
    return error.code == "timeout" if isinstance(error, StageError) else not isinstance(error, LinkStoppedError)


def _leave(build: Build, link: GuestLink) -> None:
    link.close()
    build.traffic += link.traffic


def _limits(profile: CloudProfile) -> LinkLimits:
    return LinkLimits.paced(profile.poll_interval_s, restart_s=profile.restart_limit_s, reconnect_s=profile.silence_limit_s)
