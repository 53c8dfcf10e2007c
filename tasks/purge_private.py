"""Deletes private work: at its expiry by the reaper, at once when a person says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import Field

from images.errors import BuildError, CloudError, ConfigurationError
from images.frozen import Frozen
from images.privacy import is_private_scope
from infra.azure.checkpoint_name import is_checkpoint_group
from infra.azure.checkpoints import list_checkpoints
from infra.azure.private_container import contents_of, delete_private_container, private_containers
from infra.azure.refusals import refusals
from infra.azure.resource_group import begin_delete_group
from infra.azure.session import Cloud
from infra.azure.tags import CREATED_BY, CREATOR, SCOPE, is_ours
from infra.checkout import output_folder
from infra.private_folders import delete_folder, private_folders

OnEvent = Callable[[str], None]

_LOOKS: Final = 3
"""A poll interval apart: a build that still runs may make its group once more. Without its container it then fails, so few are enough."""


class PrivateWork(Frozen):
    """What there is of one private scope."""

    scope: str
    expires_at: datetime | None = Field(description="None when its container is gone: what is left goes at the expiry in its own tags.")
    groups: tuple[str, ...] = Field(description="Resource groups of builds.")
    checkpoints: int = Field(description="Layers that are kept for it.")
    blobs: int
    size_bytes: int = Field(description="Of its container, VHDs at their full size.")
    running: tuple[str, ...] = Field(description="Builds that are at work in it, or were killed while they were.")
    folders: tuple[str, ...] = Field(description="Folders on this machine.")


class Purged(Frozen):
    """What was deleted of one private scope, and what could not be."""

    scope: str
    deleted: tuple[str, ...]
    problems: tuple[str, ...] = Field(description="One text for each thing that is still there.")


def refuse_leftovers(purged: Iterable[Purged]) -> None:
    """Raise CloudError when something that should go is still there."""
    problems = [problem for one in purged for problem in one.problems]
    if problems:
        raise CloudError(
            "\n  ".join([f"{len(problems)} things of private work could not be deleted:", *problems]),
            code="PurgeIncomplete",
            hint="remove what holds them (a lock, an open SAS) and purge again; the reaper tries again, too, once they have expired",
        )


def private_work(cloud: Cloud) -> list[PrivateWork]:
    """Everything private that is in the cloud or on this machine, soonest expiry first. Raises CloudError."""
    groups, folders = _groups(cloud), private_folders(output_folder())
    expiries: dict[str, datetime | None] = {container.scope: container.expires_at for container in private_containers(cloud)}
    in_cloud = set(expiries)
    for folder in folders:
        expiries.setdefault(folder.scope, folder.expires_at)
    found = []
    for scope in dict.fromkeys((*expiries, *groups.values())):
        contents = contents_of(cloud, scope) if scope in in_cloud else None
        found.append(
            PrivateWork(
                scope=scope,
                expires_at=expiries.get(scope),
                groups=tuple(group for group in _of(groups, scope) if not is_checkpoint_group(cloud.profile.resource_group_prefix, group)),
                checkpoints=_checkpoints(cloud, scope),
                blobs=contents.blobs if contents else 0,
                size_bytes=contents.size_bytes if contents else 0,
                running=contents.running if contents else (),
                folders=tuple(str(folder.path) for folder in folders if folder.scope == scope),
            )
        )
    never = datetime.max.replace(tzinfo=UTC)
    return sorted(found, key=lambda work: (work.expires_at or never, work.scope))


def _checkpoints(cloud: Cloud, scope: str) -> int:
    try:
        return len(list_checkpoints(cloud, scope))
    except ConfigurationError:
        # A tag that a person changed: no group of checkpoints can belong to it.
        return 0


def known_scopes(found: Iterable[PrivateWork], wanted: Sequence[str]) -> list[str]:
    """The wanted scopes, each once; ConfigurationError for one of which nothing is there: a name that was mistyped deletes nothing."""
    known = [work.scope for work in found]
    unknown = [scope for scope in wanted if scope not in known]
    if unknown:
        raise ConfigurationError(
            f"there is no private work called {', '.join(unknown)}",
            hint="winvhd private list shows what there is: " + (", ".join(known) or "nothing"),
        )
    return list(dict.fromkeys(wanted))


def purge_scope(cloud: Cloud, scope: str, on_event: OnEvent) -> Purged:
    """Delete everything of a private scope: VMs, disks, checkpoints, blobs, and what its builds left on this machine.

    Everything is tried, and what is still there is told. A build that is at work in the scope fails.
    """
    purge = _Purge(scope, on_event)
    # The container first: without it a build that still runs can neither lease a layer nor keep anything.
    purge.attempt(f"container {scope}", lambda: delete_private_container(cloud, scope))
    seen: set[str] = set()
    for look in range(_LOOKS):
        if look > 0:
            cloud.wait.pause()
        new = [group for group in _listed(cloud, scope, purge) if group not in seen]
        if not new:
            break
        seen |= set(new)
        for group in new:
            purge.attempt(f"resource group {group}", lambda name=group: _delete_group(cloud, name))  # type: ignore[misc]
    for folder in private_folders(output_folder()):
        if folder.scope == scope:
            purge.attempt(f"folder {folder.path}", lambda path=folder.path: _delete_folder(path))  # type: ignore[misc]
    return Purged(scope=scope, deleted=tuple(purge.deleted), problems=tuple(purge.problems))


def purge_expired(cloud: Cloud, on_event: OnEvent, now: datetime | None = None) -> list[Purged]:
    """Delete the private work whose expiry has passed, and give for each scope what went and what did not.

    Raises CloudError when it can not be listed.
    """
    now = now or datetime.now(UTC)
    containers = private_containers(cloud)
    alive = {container.scope for container in containers if container.expires_at > now}
    due = [container.scope for container in containers if container.expires_at <= now]
    # A killed build's folder may be on another machine than the one that deleted its container.
    due += [folder.scope for folder in private_folders(output_folder()) if folder.expires_at <= now and folder.scope not in alive]
    return [purge_scope(cloud, scope, on_event) for scope in dict.fromkeys(due)]


class _Purge:
    """Deletes one thing after the other, and remembers what went and what did not."""

    def __init__(self, scope: str, on_event: OnEvent) -> None:
        self.scope = scope
        self.deleted: list[str] = []
        self.problems: list[str] = []
        self._on_event = on_event

    def attempt(self, what: str, delete: Callable[[], bool]) -> None:
        """Try to delete something; `delete` says whether it was there."""
        try:
            if delete():
                self.deleted.append(what)
                self._on_event(f"deleted {what}")
        except BuildError as error:
            self.failed(what, error)

    def failed(self, what: str, error: BuildError) -> None:
        """Remember that something is still there."""
        self.problems.append(f"{what}: {error.what}")
        self._on_event(f"could not delete {what}: {error.what}")


def _listed(cloud: Cloud, scope: str, purge: _Purge) -> list[str]:
    try:
        return _of(_groups(cloud), scope)
    except CloudError as error:
        purge.failed(f"resource groups of {scope}", error)
        return []


def _delete_group(cloud: Cloud, name: str) -> bool:
    # Azure goes on by itself; the stand-in may be ended together with the command.
    begin_delete_group(cloud, name, wait=cloud.profile.name == "local")
    return True


def _delete_folder(path: Path) -> bool:
    delete_folder(path)
    return True


def _of(groups: dict[str, str], scope: str) -> list[str]:
    return [group for group, owner in groups.items() if owner == scope]


def _groups(cloud: Cloud) -> dict[str, str]:
    """Resource groups of ours with private work, by name, and whose they are; without those that are being deleted."""
    with refusals("list resource groups"):
        groups = cloud.resources.resource_groups.list(filter=f"tagName eq '{CREATED_BY}' and tagValue eq '{CREATOR}'")
        return {
            group.name: tags[SCOPE]
            for group in groups
            # Checked again here: the filter is a courtesy of the server, deleting is not undone.
            if group.name
            and is_ours(tags := group.tags or {})
            and is_private_scope(tags.get(SCOPE, ""))
            and not (group.properties and group.properties.provisioning_state == "Deleting")
        }
