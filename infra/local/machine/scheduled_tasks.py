r"""Scheduled tasks: an XML file below C:\Windows\System32\Tasks and a key of the Task Scheduler's cache for each.

The cache is SOFTWARE\Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache (Tree\<path> holds the Id, Tasks\{Id} the rest); the XML is the
Task Scheduler schema (https://learn.microsoft.com/en-us/windows/win32/taskschd/task-scheduler-schema).
"""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

from infra.local.machine.disk import MachineDisk

TASKS_FOLDER = r"C:\Windows\System32\Tasks"
_CACHE = r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache"
_NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"


def task_xml(path: str, command: str, arguments: str, *, at_startup: bool) -> bytes:
    """A task that runs as SYSTEM with highest privileges; with a boot trigger or none. UTF-16, as Windows writes it."""
    trigger = "<Triggers><BootTrigger><Enabled>true</Enabled></BootTrigger></Triggers>" if at_startup else "<Triggers />"
    text = (
        f'<?xml version="1.0" encoding="UTF-16"?>\r\n<Task version="1.3" xmlns="{_NAMESPACE}">'
        f"<RegistrationInfo><URI>{escape(path)}</URI></RegistrationInfo>{trigger}"
        '<Principals><Principal id="Author"><UserId>S-1-5-18</UserId><RunLevel>HighestAvailable</RunLevel></Principal></Principals>'
        "<Settings><MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy><ExecutionTimeLimit>PT0S</ExecutionTimeLimit>"
        f'<Priority>4</Priority></Settings><Actions Context="Author"><Exec><Command>{escape(command)}</Command>'
        f"<Arguments>{escape(arguments)}</Arguments></Exec></Actions></Task>"
    )
    return text.encode("utf-16")


def register_task(disk: MachineDisk, path: str, command: str, arguments: str, *, at_startup: bool = False) -> bool:
    r"""Register a task by its path (\name); False when it was there exactly so."""
    xml = task_xml(path, command, arguments, at_startup=at_startup)
    file = disk.path(TASKS_FOLDER + path)
    if file.exists() and file.read_bytes() == xml:
        return False
    disk.write(TASKS_FOLDER + path, xml)
    identity = "{" + str(uuid.uuid5(uuid.NAMESPACE_URL, path.lower())).upper() + "}"
    disk.make_key(rf"{_CACHE}\Tree{path}").set("Id", identity)
    disk.make_key(rf"{_CACHE}\Tasks\{identity}").set("Path", path)
    return True


def remove_task(disk: MachineDisk, path: str) -> bool:
    """Remove a task's file and its keys; True when it was there."""
    file = disk.path(TASKS_FOLDER + path)
    there = file.exists()
    file.unlink(missing_ok=True)
    tree = disk.key(rf"{_CACHE}\Tree{path}")
    identity = tree.get("Id") if tree else None
    parent, _, name = path.rpartition("\\")
    folder = disk.key(rf"{_CACHE}\Tree{parent}")
    if folder is not None:
        folder.remove_key(name)
    tasks = disk.key(rf"{_CACHE}\Tasks")
    if tasks is not None and isinstance(identity, str):
        tasks.remove_key(identity)
    return there


def startup_commands(disk: MachineDisk) -> tuple[str, ...]:
    """Command lines of all tasks with a boot trigger."""
    commands = []
    for path in task_paths(disk):
        root = ET.fromstring(disk.path(TASKS_FOLDER + path).read_bytes())  # noqa: S314 - written by register_task
        if root.find(f".//{{{_NAMESPACE}}}BootTrigger") is not None:
            action = root.find(f".//{{{_NAMESPACE}}}Exec")
            commands.append(" ".join(action.itertext()) if action is not None else "")
    return tuple(commands)


def task_paths(disk: MachineDisk) -> tuple[str, ...]:
    r"""Paths of all tasks outside \Microsoft, sorted."""
    root = disk.path(TASKS_FOLDER)
    if not root.is_dir():
        return ()
    files = (file.relative_to(root).parts for file in root.rglob("*") if file.is_file())
    return tuple(sorted("\\" + "\\".join(parts) for parts in files if parts[0].lower() != "microsoft"))
