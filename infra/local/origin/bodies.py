"""What a URL gives: a deterministic body, scaled down, in the format that its name promises."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from infra.local.origin.archives import Member, make_tar_gz, make_zip, noise
from infra.local.origin.windows_releases import update_facts

SCALE = 512
"""A body has 1/512 of the size that the real one has, so that an image of gigabytes fits into megabytes."""

_MIB = 1024 * 1024
_NOMINAL_MIB = (
    (r"-1int\.zip$", 64, 144),
    (r"containerd-.*\.(tar\.gz|zip)$", 82, 90),
    (r"azure-vnet-cni", 80, 108),
    (r"calico-windows", 74, 78),
    (r"credential-provider", 9, 13),
    (r"csi-proxy", 6, 8),
    (r"(cse-scripts|signedscripts)", 1, 2),
    (r"\.(ps1|psm1|cmd)$", 0, 1),
    (r"\.(msu|cab)$", 300, 700),
)
"""Ranges of the sizes in the reference release notes, by name."""


def nominal_bytes(url: str) -> int:
    """The size that the real file behind a URL has or may have, in bytes; a body is 1/SCALE of it."""
    low, high = next(((low, high) for pattern, low, high in _NOMINAL_MIB if re.search(pattern, urlsplit(url).path)), (8, 100))
    share = int.from_bytes(hashlib.sha256(url.encode()).digest()[:4], "big") / 2**32
    return int((low + (high - low) * share) * _MIB)


def _executable(url: str, name: str, size: int, about: str = "") -> bytes:
    head = b"MZ\x90\x00" + about.encode() + b"\n" if about else b"MZ\x90\x00"
    return head + noise(f"{url}#{name}", max(size - len(head), 64))


def _version_of(name: str) -> str:
    found = re.search(r"v?\d+\.\d+\.\d+(?:[-+.][0-9A-Za-z.]+?)*?(?=-windows|-1int|_windows|\.amd64|\.zip|\.tar|\.tgz|_amd64|$)", name)
    return found.group(0) if found else "0.0.0"


def _containerd_about(version: str, program: str) -> str:
    # Go programs carry their link flags as text in the build information; readers of a stopped disk find the version there.
    number = version if version.startswith("v") else f"v{version}"
    module = "github.com/containerd/containerd"
    flags = f"-X {module}/version.Version={number} -X {module}/version.Package={module}"
    return f'path\t{module}/cmd/{program}\nbuild\t-ldflags="{flags}"'


def _members(url: str, name: str) -> list[Member]:
    """What is inside an archive, by its name; the names are those that the real archives have, as far as nodes use them."""
    budget = max(nominal_bytes(url) // SCALE, 4096)
    stem = re.sub(r"\.(zip|tar\.gz|tgz)$", "", name)
    version = _version_of(name)
    if re.search(r"-1int\.zip$", name):
        programs = ["k/kubelet.exe", "k/kube-proxy.exe", "k/kubectl.exe", "k/kubeadm.exe"]
    elif "containerd" in name:
        programs = ["bin/containerd.exe", "bin/ctr.exe", "bin/containerd-shim-runhcs-v1.exe"]
        return [
            (path, _executable(url, path, budget // len(programs), _containerd_about(version, PurePosixPath(path).stem)))
            for path in programs
        ]
    elif name.startswith("oras"):
        programs = ["oras.exe"]
    elif "azure-vnet-cni" in name:
        programs = ["azure-vnet.exe", "azure-vnet-ipam.exe", "azure-vnet-telemetry.exe"]
    elif "credential-provider" in name:
        programs = ["azure-acr-credential-provider.exe"]
    elif "csi-proxy" in name:
        programs = ["bin/csi-proxy.exe"]
    elif "calico" in name:
        programs = ["CalicoWindows/calico-node.exe", "CalicoWindows/cni/calico.exe", "CalicoWindows/cni/calico-ipam.exe"]
    elif "ccgakvplugin" in name:
        programs = ["CCGAKVPlugin.dll", "install-plugin.ps1"]
    elif "scripts" in name:
        programs = [
            "azurecnifunc.ps1",
            "calicofunc.ps1",
            "configfunc.ps1",
            "containerdfunc.ps1",
            "kubeletfunc.ps1",
            "provisioningscripts/loggenerator.ps1",
        ]
    else:
        programs = [f"{stem}.exe"]
    members: list[Member] = [(path, _executable(url, path, budget // len(programs))) for path in programs]
    members.append(("LICENSE.txt", f"Stand-in body of {url}\n".encode()))
    return members


def _update(url: str, name: str) -> bytes:
    facts = update_facts(url)
    if facts is None:
        return noise(url, max(nominal_bytes(url) // SCALE, 4096))
    about = {
        "kb": facts.kb,
        "builds": list(facts.builds),
        "promised_ubr": facts.promised_ubr,
        "description": facts.description,
        "title": facts.title,
        "file_name": name,
        "needs_ubr": facts.needs_ubr,
    }
    return UPDATE_MAGIC + json.dumps(about, sort_keys=True).encode() + b"\n" + noise(url, max(nominal_bytes(url) // SCALE, 4096))


UPDATE_MAGIC = b"winvhd stand-in update\n"
"""First line of every .msu and .cab here; the second is a JSON object: kb, builds, promised_ubr, description, title, needs_ubr."""


def defender_versions(now: datetime) -> dict[str, str]:
    """Newest Defender versions at a time: new signatures every day at midnight UTC, a new platform every month."""
    day = datetime(now.year, now.month, now.day, tzinfo=UTC)
    return {
        "engine": f"1.1.{(now.year - 2000)}{now.month:02d}0.1",
        "platform": f"4.18.{(now.year - 2000)}{now.month:02d}0.9",
        "signatures": f"1.{457 + (day - datetime(2026, 8, 1, tzinfo=UTC)).days // 365}.{day.timetuple().tm_yday}.0",
        "date": day.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _defender_info() -> bytes:
    """The versions document that Microsoft's download link gives for action=info; the one body that depends on the day."""
    newest = defender_versions(datetime.now(UTC))
    return (
        f'<?xml version="1.0" encoding="utf-8"?><versions><engine>{newest["engine"]}</engine>'
        f'<signatures date="{newest["date"]}">{newest["signatures"]}</signatures><platform>{newest["platform"]}</platform></versions>'
    ).encode()


def depends_on_time(url: str) -> bool:
    """True for a URL whose body is not always the same and must not be kept."""
    return urlsplit(url).hostname == "go.microsoft.com" and "action=info" in url


def body_for(url: str) -> bytes:
    """The body of a URL: an archive for .zip, .tar.gz and .tgz, an update for .msu and .cab, else bytes without meaning."""
    if depends_on_time(url):
        return _defender_info()
    name = PurePosixPath(urlsplit(url).path).name.lower()
    makers: tuple[tuple[tuple[str, ...], Callable[[], bytes]], ...] = (
        ((".zip", ".nupkg"), lambda: make_zip(_members(url, name))),
        ((".tar.gz", ".tgz"), lambda: make_tar_gz(_members(url, name))),
        ((".msu", ".cab"), lambda: _update(url, name)),
        ((".exe", ".dll"), lambda: _executable(url, name, max(nominal_bytes(url) // SCALE, 4096))),
        ((".ps1", ".psm1", ".cmd", ".txt", ".json"), lambda: f"# Stand-in body of {url}\n".encode() * 20),
    )
    for suffixes, make in makers:
        if name.endswith(suffixes):
            return make()
    return noise(url, max(nominal_bytes(url) // SCALE, 4096))
