"""The link to one guest: runs stages there, restarts it, and says good-bye. What breaks on the way is mended here or named clearly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from images.errors import GuestLinkError
from images.stages.contract import StageContract, StageInput, StageResult
from images.stages.finish import GENERALIZE, GeneralizeInput, GeneralizeResult
from images.stages.system import GuestStateResult
from infra.guest.connection import GuestConnection
from infra.guest.elevated import ElevatedRun
from infra.guest.endpoint import GuestEndpoint
from infra.guest.json_lines import Progress
from infra.guest.limits import LinkLimits
from infra.guest.package import RECEIVE_PACKAGE, ScriptPackage, build_package
from infra.guest.restart import guest_state, reboot_around, restart_guest, wait_until_ready
from infra.guest.runner import OnProgress, ScriptRunner, ignore_progress
from infra.guest.traffic import LinkTraffic, TrafficMeter
from infra.guest.transfer import FileContent, SentFile, send_file
from infra.redaction import Redactor, url_queries

__all__ = ["GuestLink", "OnProgress", "Progress"]


class GuestLink:
    """A context manager over one connection. For one thread at a time.

    Every method may raise LinkRefusedError (wrong certificate or password), GuestSilentError (no contact for limits.reconnect_s),
    both GuestLinkErrors, and StageError (the script failed, or broke the contract). Once `stopping` is set, whoever uses the link, in
    whichever thread, gets LinkStoppedError instead of waiting.
    """

    def __init__(
        self,
        endpoint: GuestEndpoint,
        *,
        limits: LinkLimits | None = None,
        package: ScriptPackage | None = None,
        stopping: threading.Event | None = None,
        renew: Callable[[], GuestEndpoint] | None = None,
    ) -> None:
        """`renew` makes first contact again: asked when the guest refuses the password, a few times at most."""
        self._limits = limits or LinkLimits()
        self._package = package or build_package()
        self._meter = TrafficMeter()
        self._stopping = stopping or threading.Event()
        self._connection = GuestConnection(endpoint, self._limits, self._meter, self._stopping)
        self._runner = ScriptRunner(self._connection, self._limits, self._meter, renew)
        self._scripts_are_there = False
        self._over = False
        self._secrets: set[str] = set()

    def __enter__(self) -> GuestLink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def endpoint(self) -> GuestEndpoint:
        """Where the guest answers now; another one after first contact was made again."""
        return self._connection.endpoint

    @property
    def traffic(self) -> LinkTraffic:
        """What crossed this link so far."""
        return self._meter.total

    def another(self) -> GuestLink:
        """One more link to the same guest, for another thread; the caller closes it. It never makes first contact again."""
        self._must_be_open()
        other = GuestLink(self.endpoint, limits=self._limits, package=self._package, stopping=self._stopping)
        other._scripts_are_there = self._scripts_are_there
        return other

    def upload_scripts(self) -> StageResult:
        """Bring the scripts to the guest; done by itself before the first stage of a link, since the guest may hold older ones."""
        self._must_be_open()
        redact = Redactor([self.endpoint.password.get_secret_value()])
        result = self._runner.run(RECEIVE_PACKAGE, self._package.data, ignore_progress, redact, self._package.receive_command)
        self._scripts_are_there = True
        return result

    def run_stage(
        self, contract: StageContract, stage_input: StageInput, *, run_id: str, on_progress: OnProgress = ignore_progress
    ) -> StageResult:
        """The stage's typed result (an instance of contract.result); progress is handed on while it comes.

        Elevated stages, and those that may take long, run as a task named after run_id (letters, digits, hyphens; 78 at most): a second
        call with the same run_id, by whichever worker, follows the first one's run instead of starting another.
        """
        self._scripts()
        redact = self._redactor(stage_input)
        if contract.elevated or contract.timeout_s > self._limits.direct_s:
            return ElevatedRun(self._runner, contract, stage_input, run_id=run_id, on_progress=on_progress, redact=redact).result()
        return self._runner.run(contract, stage_input.model_dump_json().encode(), on_progress, redact)

    def send_file(self, content: FileContent, path: str, *, on_progress: OnProgress = ignore_progress) -> SentFile:
        """Bring a file to a path of the guest over this link, for a guest that can not reach blob storage; see infra.guest.transfer."""
        self._scripts()
        return send_file(self._runner, content, path, on_progress)

    def state(self) -> GuestStateResult:
        """Boot time, build, free space and readiness of the guest."""
        self._scripts()
        return guest_state(self._runner)

    def wait_until_ready(self) -> GuestStateResult:
        """The state once no automatic service is starting any more; raises GuestLinkError after limits.restart_s."""
        self._scripts()
        return wait_until_ready(self._runner)

    def restart(self) -> GuestStateResult:
        """Restart the guest; the state once a new boot answers and is ready. Raises GuestLinkError after limits.restart_s.

        Account, certificate, listener and scripts are on its disk: the link goes on as before.
        """
        self._scripts()
        return restart_guest(self._runner)

    def reboot_around(self, while_off: Callable[[], None]) -> GuestStateResult:
        """The state after `while_off` has stopped the machine from outside and started it again; raises what that raises.

        As after `restart`, the link goes on as before.
        """
        self._scripts()
        return reboot_around(self._runner, while_off)

    def generalize(self, stage_input: GeneralizeInput, *, run_id: str, on_progress: OnProgress = ignore_progress) -> GeneralizeResult:
        """The last contact: once its result is read the guest removes all traces of the build and shuts down; the link is closed.

        The caller waits for the VM to stop. Raises StageError (code sysprep-stuck: the setup logs are on the stopped disk).
        """
        self._scripts()
        redact = self._redactor(stage_input)
        run = ElevatedRun(self._runner, GENERALIZE, stage_input, run_id=run_id, on_progress=on_progress, redact=redact)
        result = run.result(is_last_contact=True)
        # A shell holds the account's profile open, which the guest is about to delete.
        self.close()
        if not isinstance(result, GeneralizeResult):
            raise TypeError(f"{GENERALIZE.name} answered with {type(result).__name__}")
        return result

    def close(self) -> None:
        """End the shell and the connection; may be called twice."""
        if not self._over:
            self._over = True
            self._connection.close()

    def _scripts(self) -> None:
        self._must_be_open()
        if not self._scripts_are_there:
            self.upload_scripts()

    def _must_be_open(self) -> None:
        if self._over:
            raise GuestLinkError("the link is closed", where=self.endpoint.url, hint="make first contact again")

    def keep_secret(self, text: str) -> None:
        """Take a text out of everything this link says from now on: progress, errors, the guest's error stream."""
        self._secrets.add(text)

    def _redactor(self, stage_input: StageInput) -> Redactor:
        return Redactor([self.endpoint.password.get_secret_value(), *self._secrets, *url_queries(stage_input)])
