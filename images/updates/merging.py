"""One list of updates from several: a KB that feeds or months mention more than once becomes one again."""

from __future__ import annotations

from collections.abc import Iterable

from images.updates.feed import FeedUpdate, UpdateKind, build_numbers


def merge_updates(updates: Iterable[FeedUpdate]) -> tuple[FeedUpdate, ...]:
    """Each KB of each Windows build once, by build, day of release and KB.

    A month may name a KB of an earlier one again, for a vulnerability that was published late: the first day counts, the lists add up,
    and what one mention knows (a URL, a hash, the kind) is not lost to another that does not.
    """
    found: dict[tuple[int, str], FeedUpdate] = {}
    for update in updates:
        key = (update.windows_build, update.kb)
        found[key] = _merged(found[key], update) if key in found else update
    return tuple(sorted(found.values(), key=lambda update: (update.windows_build, update.released, update.kb)))


def _merged(one: FeedUpdate, other: FeedUpdate) -> FeedUpdate:
    # The bytes of one mention: a URL of one and a hash of the other might not belong together.
    file = one if one.url is not None else other
    builds = [build for build in (one.fixed_build, other.fixed_build) if build is not None]
    return FeedUpdate(
        kb=one.kb,
        products=tuple(sorted({*one.products, *other.products})),
        windows_build=one.windows_build,
        fixed_build=max(builds, key=build_numbers, default=None),
        kind=_more_exact(one.kind, other.kind),
        released=min(one.released, other.released),
        supersedes=tuple(sorted({*one.supersedes, *other.supersedes})),
        cves=tuple(sorted({*one.cves, *other.cves})),
        restart_required=one.restart_required or other.restart_required,
        url=file.url,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
    )


def _more_exact(one: UpdateKind, other: UpdateKind) -> UpdateKind:
    """A feed that says checkpoint or preview knows more than one that says cumulative, and anything more than one that says other."""
    vague = (UpdateKind.OTHER, UpdateKind.CUMULATIVE)
    return max(one, other, key=lambda kind: vague.index(kind) if kind in vague else len(vague))
