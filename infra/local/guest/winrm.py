"""The WinRM service of a booted guest: opens the listener that the machine's configuration asks for, and closes it."""

from __future__ import annotations

import logging

from infra.local.guest.engine import FaultSource
from infra.local.guest.network import NetworkThread
from infra.local.guest.ports import PortClaims, PortInUseError
from infra.local.guest.provisioning import computer_name
from infra.local.guest.remoting import basic_allowed, listener_to_open, tls_context, winrm_start
from infra.local.guest.running import RunningGuest
from infra.local.guest.wsman import soap
from infra.local.guest.wsman.authentication import Authentication, BasicAuthentication
from infra.local.guest.wsman.listener import WsmanListener
from infra.local.guest.wsman.negotiate import NegotiateAuthentication
from infra.local.guest.wsman.service import WinRmService
from infra.local.guest.wsman.shells import ShellTable
from infra.local.machine.accounts import account_names, check_password, stored_hash

LOG = logging.getLogger(__name__)

MAX_ENVELOPE_KB = 500
"""winrm/config MaxEnvelopeSizekb of Windows Server as installed."""
CURRENT_VERSION = r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion"


class WinRm:
    """Start and stop are called by the host only, one at a time."""

    def __init__(self, guest: RunningGuest, network: NetworkThread, ports: PortClaims, faults: FaultSource) -> None:
        self._guest = guest
        self._network = network
        self._ports = ports
        self._faults = faults
        self._listener: WsmanListener | None = None

    def start_at_boot(self) -> bool:
        """Start it as the service's start mode says; False when it stays down."""
        start = winrm_start(self._guest.machine.disk)
        if not start.automatic:
            LOG.info("WinRM of %s does not start by itself", self._guest.vm_id)
            return False
        # Hyper-V's virtual switch takes the network away while WinRM starts: only a delayed start comes after that.
        if self._guest.machine.network_disturbed and not start.delayed:
            LOG.warning(
                "WinRM of %s does not come up: Hyper-V disturbs the network of this boot, and its start is not delayed", self._guest.vm_id
            )
            return False
        return self.start()

    def start(self) -> bool:
        """Open the configured listener; False when there is none. Raises PortInUseError."""
        disk = self._guest.machine.disk
        with self._guest.machine.lock:
            wanted = listener_to_open(disk)
            name = computer_name(disk)
            # Negotiate is on in the service as installed, Basic is not.
            schemes: list[Authentication] = [NegotiateAuthentication(self._hashes, name)]
            if basic_allowed(disk):
                schemes.append(BasicAuthentication(self._check_password, name))
            version = disk.key(CURRENT_VERSION)
        if wanted is None:
            return False
        try:
            context = tls_context(disk, wanted.thumbprint)
        except KeyError as error:
            LOG.warning("WinRM of %s has no listener: %s", self._guest.vm_id, error)
            return False
        service = WinRmService(
            ShellTable(self._guest),
            computer_name=name,
            product_version=f"10.0.{str(version.get('CurrentBuildNumber')) if version else '0'}",
            max_envelope_kb=MAX_ENVELOPE_KB,
        )
        listener = WsmanListener(service, schemes, self._drops)
        self._ports.claim(wanted.port, self._guest.vm_id.lower())
        try:
            self._network.call(listener.open(wanted.port, context))
        except OSError as error:
            raise PortInUseError(
                f"port {wanted.port} of 127.0.0.1 can not be used: {error.strerror}", where=self._guest.vm_id, hint="choose a free port"
            ) from error
        self._listener = listener
        return True

    def _check_password(self, name: str, password: str) -> bool:
        # Without the machine's lock: a stage may hold it for long, and this is the thread in which every guest speaks.
        return check_password(self._guest.machine.disk, name, password)

    def _hashes(self) -> dict[str, bytes]:
        disk = self._guest.machine.disk
        return {name: stored for name in account_names(disk) if (stored := stored_hash(disk, name)) is not None}

    def _drops(self, request: soap.Request) -> bool:
        if self._faults.should("guest.winrm", self._guest.vm_id):
            return True
        # In mid-stage: a process is running and its output is being waited for.
        return request.action.endswith("/Receive") and self._faults.should("guest.winrm-drop", self._guest.vm_id) is not None

    def stop(self) -> None:
        """Close the listener and every connection; shells and their processes end."""
        if self._listener is not None:
            self._network.call(self._listener.close())
            self._listener = None
