"""A new lock: every URL, tag and version of a definition resolved now."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from images.definition import FollowedUpdates, ImageDefinition
from images.errors import ArtifactError
from images.loading import definition_digest
from images.lock import ImageLock, LockedFile, LockedUpdate, LockOrigin
from images.lock_diff import files_of
from images.updates.update_note import UpdateNote
from infra.azure.marketplace import resolve_version
from infra.azure.session import Cloud
from infra.fetch.http import make_client
from infra.fetch.registry import Registry
from tasks.choose_updates import UpdateSource, choose_updates
from tasks.read_feed import MSRC
from tasks.upstream import Upstream

PARALLEL: Final = 8
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ResolvedLock:
    """A new lock, and what the update feed said about updates that it leaves out, for people."""

    lock: ImageLock
    notes: tuple[UpdateNote, ...]


def make_lock(
    definition: ImageDefinition, cloud: Cloud, origin: LockOrigin, *, progress: Progress = lambda *_: None, as_of: datetime | None = None
) -> ImageLock:
    """The lock that a definition resolves to at a time (default: now); raises what `resolve_definition` raises."""
    return resolve_definition(definition, cloud, origin, as_of=as_of or datetime.now(UTC), progress=progress).lock


def resolve_definition(
    definition: ImageDefinition,
    cloud: Cloud,
    origin: LockOrigin,
    *,
    as_of: datetime,
    follow: FollowedUpdates | None = None,
    feed_source: str = MSRC,
    old: ImageLock | None = None,
    upstream: Upstream | None = None,
    progress: Progress = lambda *_: None,
) -> ResolvedLock:
    """Resolve every URL, tag and version of a definition, several at once; no update that was released after `as_of` is seen.

    `follow` takes the place of what the definition follows in the update feed; `upstream` is shared by the images of one refresh. A file
    whose bytes are not those of the old lock is fetched once more: a broken transfer changes nothing, and is no alarm. Raises CloudError
    (no such base image), FeedError (the feed is down or malformed) and ArtifactError (a file or image can not be had, there is no image for
    this Windows build, or the bytes are not those that the definition or the feed promises).
    """
    upstream = upstream or Upstream(cloud)
    profile, wanted = cloud.profile, definition.base
    base_version = resolve_version(cloud, wanted.publisher, wanted.offer, wanted.sku, wanted.version)
    windows_build = int(base_version.split(".", 1)[0])
    chosen = choose_updates(definition, cloud, base_version, upstream, follow=follow, feed_source=feed_source, as_of=as_of)
    urls = [package.url for package in definition.packages]
    if definition.container_runtime is not None:
        urls.insert(0, definition.container_runtime.url)
    urls = list(dict.fromkeys(urls))
    before = {file.url: file for file in files_of(old)} if old else {}
    with make_client() as client, ThreadPoolExecutor(PARALLEL) as pool:
        registry = Registry(client, profile.route, first_wait_s=profile.poll_interval_s)

        def hashed(url: str) -> LockedFile:
            return upstream.hash(client, url, before.get(url))

        try:
            updates = [pool.submit(hashed, update.url) if update.url else None for update in chosen.updates]
            images = [pool.submit(registry.lock_image, reference, windows_build) for reference in definition.container_images]
            artifacts = [pool.submit(registry.lock_artifact, artifact.reference) for artifact in definition.oci_artifacts]
            done = []
            for number, file in enumerate(pool.map(hashed, urls), 1):
                progress(file.url.rsplit("/", 1)[-1], number, len(urls))
                done.append(file)
            lock = ImageLock(
                image=definition.name,
                origin=origin,
                definition_sha256=definition_digest(definition),
                base_version=base_version,
                updates=tuple(
                    _locked(update, pending.result() if pending else None) for update, pending in zip(chosen.updates, updates, strict=True)
                ),
                files=tuple(done),
                container_images=tuple(image.result() for image in images),
                oci_artifacts=tuple(artifact.result() for artifact in artifacts),
            )
        except BaseException:
            # The first failure is the answer: what has not begun need not be fetched any more.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    _check_promised_hashes(definition, lock)
    return ResolvedLock(lock, chosen.notes)


def _locked(update: UpdateSource, file: LockedFile | None) -> LockedUpdate:
    if file is not None and update.sha256 is not None and file.sha256 != update.sha256:
        raise ArtifactError(
            f"{update.kb}: its bytes have sha256 {file.sha256}, the feed promises {update.sha256}",
            where=f"update {file.url.partition('?')[0]}",
            hint="find out which one is right: compare with the hash that the Update Catalog shows",
        )
    return LockedUpdate(kb=update.kb, file=file, build=update.build, preview=update.preview, checkpoint=update.checkpoint)


def _check_promised_hashes(definition: ImageDefinition, lock: ImageLock) -> None:
    found = {file.url: file.sha256 for file in lock.files}
    for package in definition.packages:
        if package.sha256 is not None and found[package.url] != package.sha256:
            raise ArtifactError(
                f"{package.name}: its bytes have sha256 {found[package.url]}, the definition promises {package.sha256}",
                where=f"package {package.url.partition('?')[0]}",
                hint="find out why the file changed before you accept the new hash",
            )
