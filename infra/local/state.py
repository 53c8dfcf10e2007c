"""The resources of the stand-in cloud: JSON documents in SQLite that survive a restart."""

from __future__ import annotations

import copy
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]
"""An ARM document as it travels; its shape is the REST API's and is checked where it is read."""


@dataclass
class Resource:
    """One ARM resource: the document that clients see, and what only the stand-in knows about it."""

    id: str
    """As the client spelled it first; ids are compared without regard to case."""
    type: str
    """Microsoft.Compute/disks and the like."""
    document: Json
    internal: Json = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Last part of the id."""
        return self.id.rsplit("/", 1)[-1]

    @property
    def location(self) -> str:
        """Azure region."""
        return str(self.document.get("location", ""))

    @property
    def properties(self) -> Json:
        """The document's properties; changing them changes the document."""
        properties: Json = self.document.setdefault("properties", {})
        return properties


class ResourceStore:
    """All resources, in memory and in one SQLite file; every change is on disk before the call returns."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # A kill of this process must lose nothing; only a crash of the whole machine may lose the last changes.
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS resources (key TEXT PRIMARY KEY, id TEXT, type TEXT, document TEXT, internal TEXT) WITHOUT ROWID"
        )
        self._resources: dict[str, Resource] = {}
        for key, identifier, kind, document, internal in self._database.execute("SELECT key, id, type, document, internal FROM resources"):
            self._resources[key] = Resource(identifier, kind, json.loads(document), json.loads(internal))

    def close(self) -> None:
        """Close the file; the store can not be used afterwards."""
        with self._lock:
            self._database.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Holds the lock over several calls, so that a check and the change after it are one step."""
        with self._lock:
            yield

    def get(self, resource_id: str) -> Resource | None:
        """A copy of the resource, or None."""
        with self._lock:
            found = self._resources.get(resource_id.lower())
            return copy.deepcopy(found) if found else None

    def put(self, resource: Resource) -> None:
        """Write the resource, new or changed."""
        with self._lock:
            stored = copy.deepcopy(resource)
            key = resource.id.lower()
            self._database.execute(
                "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?)",
                (key, stored.id, stored.type, json.dumps(stored.document), json.dumps(stored.internal)),
            )
            self._resources[key] = stored

    def remove(self, resource_id: str) -> bool:
        """True when the resource was there."""
        with self._lock:
            self._database.execute("DELETE FROM resources WHERE key = ?", (resource_id.lower(),))
            return self._resources.pop(resource_id.lower(), None) is not None

    def find(self, *, kind: str | None = None, under: str | None = None) -> list[Resource]:
        """Copies of the resources of a type and below an id, ordered by id."""
        prefix = f"{under.lower().rstrip('/')}/" if under else ""
        with self._lock:
            return [
                copy.deepcopy(resource)
                for key, resource in sorted(self._resources.items())
                if key.startswith(prefix) and (kind is None or resource.type.lower() == kind.lower())
            ]
