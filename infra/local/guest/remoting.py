r"""The WinRM configuration of a machine: what first contact makes, what a boot reads, what last contact removes."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from images.stages.boot import RemotingInput, RemotingResult
from images.stages.link import GUEST_FOLDER
from infra.local.machine.accounts import remove_account, set_account
from infra.local.machine.disk import MachineDisk
from infra.local.machine.remoting import (
    Listener,
    certificates,
    find_certificate,
    firewall_rules,
    listeners,
    remove_certificate,
    remove_firewall_rule,
    remove_listeners,
    set_firewall_rule,
    set_listener,
    store_certificate,
)

WSMAN_SERVICE = r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WSMAN\Service"
WINRM_SERVICE = r"HKLM:\SYSTEM\CurrentControlSet\Services\WinRM"
TOKEN_POLICY = (r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System", "LocalAccountTokenFilterPolicy")
"""Without it a local administrator gets a filtered token over the network."""
FIREWALL_RULE = "winvhd-winrm-https"
AUTOMATIC = 2
VALID_DAYS = 30
CLOCK_SKEW = datetime.timedelta(days=1)
"""The clocks of guest and worker may differ by as much."""


@dataclass(frozen=True)
class WinRmStart:
    """How the WinRM service starts at boot."""

    automatic: bool
    delayed: bool


def winrm_start(disk: MachineDisk) -> WinRmStart:
    """The service's start mode; a machine without the key has Windows Server's own, automatic."""
    key = disk.key(WINRM_SERVICE)
    automatic = key is None or key.get("Start", AUTOMATIC) == AUTOMATIC
    return WinRmStart(automatic, automatic and key is not None and bool(key.get("DelayedAutostart", 0)))


def listener_to_open(disk: MachineDisk) -> Listener | None:
    """The HTTPS listener that can be reached, or None: there is none, or no active firewall rule lets its port in."""
    found = next((listener for listener in listeners(disk) if listener.transport == "HTTPS"), None)
    if found is None:
        return None
    for rule in firewall_rules(disk).values():
        fields = dict(part.partition("=")[::2] for part in rule.split("|"))
        if (fields.get("Action"), fields.get("Active"), fields.get("Dir"), fields.get("LPort")) == ("Allow", "TRUE", "In", str(found.port)):
            return found
    return None


def basic_allowed(disk: MachineDisk) -> bool:
    """True when the service takes Basic; Windows' own setting is no."""
    key = disk.key(WSMAN_SERVICE)
    return key is not None and key.get("auth_basic", 0) == 1


def tls_context(disk: MachineDisk, thumbprint: str) -> ssl.SSLContext:
    """TLS with the machine's own certificate; raises KeyError when certificate or key is missing."""
    found = find_certificate(disk, thumbprint)
    if found is None:
        raise KeyError(f"certificate {thumbprint} or its key is missing")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate = x509.load_der_x509_certificate(found[0]).public_bytes(serialization.Encoding.PEM)
    # load_cert_chain reads files only.
    with tempfile.TemporaryDirectory(prefix="winvhd-tls-") as folder:
        chain = Path(folder) / "listener.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(certificate + found[1])
        context.load_cert_chain(chain)
    return context


def _self_signed(address: str, common_name: str) -> tuple[bytes, bytes]:
    """(certificate in DER, key in PEM) for an address."""
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        alternative = x509.DNSName(address)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64] or "winvhd")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.DER),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def enable_remoting(disk: MachineDisk, wanted: RemotingInput, password: str, computer_name: str) -> RemotingResult:
    """Make certificate, account, listener and firewall rule; a second call replaces what the first one made."""
    for old in (listener.thumbprint for listener in listeners(disk) if listener.transport == "HTTPS"):
        remove_certificate(disk, old)
    der, key_pem = _self_signed(wanted.address, computer_name)
    # Windows names certificates by their SHA-1.
    thumbprint = x509.load_der_x509_certificate(der).fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303
    store_certificate(disk, thumbprint, der, key_pem)
    set_account(disk, wanted.account, password)
    set_listener(disk, Listener("HTTPS", wanted.port, thumbprint, wanted.address))
    set_firewall_rule(disk, FIREWALL_RULE, action="Allow", direction="In", port=wanted.port)
    if not winrm_start(disk).automatic:
        disk.make_key(WINRM_SERVICE).set("Start", AUTOMATIC)
    disk.make_key(TOKEN_POLICY[0]).set(TOKEN_POLICY[1], 1)
    service = disk.make_key(WSMAN_SERVICE)
    service.set("auth_basic", 1)
    service.set("allow_unencrypted", 0)
    return RemotingResult(
        changed=True, certificate=base64.b64encode(der).decode("ascii"), thumbprint=thumbprint, port=wanted.port, nonce=wanted.nonce
    )


def remove_remoting(disk: MachineDisk, *, account: str, thumbprint: str) -> tuple[str, ...]:
    r"""The last contact: remove account, profile, certificate and key, listener, firewall rule and C:\winvhd; returns what was there.

    The caller holds the machine's lock. What still writes below C:\winvhd\runs stops doing so once the folder is gone.
    """
    removed: list[str] = []
    if remove_account(disk, account):
        removed.append(f"account {account}")
    # Another worker may have made first contact meanwhile: then the listener has a certificate that the build's input does not name.
    ours = {thumbprint, *(listener.thumbprint for listener in listeners(disk) if listener.transport == "HTTPS")}
    for name in sorted(ours & set(certificates(disk))):
        if remove_certificate(disk, name):
            removed.append(f"certificate {name}")
    if remove_listeners(disk, https_only=True):
        removed.append("HTTPS listener")
    if remove_firewall_rule(disk, FIREWALL_RULE):
        removed.append(f"firewall rule {FIREWALL_RULE}")
    service = disk.key(WSMAN_SERVICE)
    if service is not None:
        service.set("auth_basic", 0)
    policy = disk.key(TOKEN_POLICY[0])
    if policy is not None and policy.remove_value(TOKEN_POLICY[1]):
        removed.append(TOKEN_POLICY[1])
    folder = disk.path(GUEST_FOLDER)
    if folder.is_dir():
        shutil.rmtree(folder)
        removed.append(GUEST_FOLDER)
    return tuple(removed)
