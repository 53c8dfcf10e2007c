"""What a Prefect server must know of us: work pool, deployments, automations."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import yaml

from images.errors import ConfigurationError
from infra.checkout import ROOT
from infra.prefect.server import WORK_POOL, client_of, prefect_environment

PREFECT_FILE = ROOT / "deployments" / "prefect.yaml"
AUTOMATIONS_FILE = ROOT / "deployments" / "automations.yaml"


def process_job_template() -> dict[str, Any]:
    """What a process worker lets a deployment change: working folder, environment, command. Takes two seconds: it imports Prefect."""
    from prefect.workers.process import ProcessWorker

    return dict(ProcessWorker.get_default_base_job_template())


def create_work_pool(api_url: str, template: dict[str, Any]) -> None:
    """The work pool, made when absent; raises ConfigurationError when the server refuses it."""
    pool = {"name": WORK_POOL, "type": "process", "description": "Builds on this machine.", "base_job_template": template}
    with client_of(api_url) as client:
        response = client.post("/work_pools/", json=pool)
    if response.status_code != httpx.codes.CONFLICT:
        _accepted(response, "the work pool")


BLOCKS_MODULE = "infra.prefect.block_types"
"""Our own types of blocks."""

DEPLOYED_HERE = {"WINVHD_CLOUD": "local", "WINVHD_MONTHLY_RUNS": "false"}
"""What deployments/prefect.yaml leaves open: here forms offer the stand-in first, and there is no monthly run that nobody asked for."""


def register(home: Path, api_url: str) -> None:
    """Register block types, and deployments and automations as deployments/ declares them.

    Raises ConfigurationError with what Prefect says.
    """
    environment = {**os.environ, **prefect_environment(home, api_url=api_url), "WINVHD_ROOT": str(ROOT), **DEPLOYED_HERE}
    with ThreadPoolExecutor(2, thread_name_prefix="register") as pool:
        # Each of them is mostly the start of a Prefect of its own.
        running = [
            pool.submit(_prefect, environment, "block", "register", "--module", BLOCKS_MODULE),
            pool.submit(_prefect, environment, "deploy", "--all", "--prefect-file", str(PREFECT_FILE)),
        ]
    for command in running:
        command.result()
    _set_automations(api_url)


def _prefect(environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-6:])
        raise ConfigurationError(f"`prefect {arguments[0]}` failed:\n{tail}", hint=f"see {PREFECT_FILE.relative_to(ROOT)}")


def _set_automations(api_url: str) -> None:
    with client_of(api_url) as client:
        for automation in yaml.safe_load(AUTOMATIONS_FILE.read_text(encoding="utf-8"))["automations"]:
            name = automation["name"]
            found = _accepted(client.post("/automations/filter", json={"automations": {"name": {"any_": [name]}}}), name).json()
            # `prefect automation create` would add a second one of the same name.
            method, path = ("PUT", f"/automations/{found[0]['id']}") if found else ("POST", "/automations/")
            _accepted(client.request(method, path, json=automation), name)


def is_registered(api_url: str, deployment: str) -> bool:
    """True when the server knows the deployment, given as FLOW/DEPLOYMENT."""
    with client_of(api_url) as client:
        return client.get(f"/deployments/name/{deployment}").status_code == httpx.codes.OK


def _accepted(response: httpx.Response, what: str) -> httpx.Response:
    if response.is_error:
        raise ConfigurationError(f"Prefect refused {what}: {response.status_code} {response.text[:500]}", hint="see deployments/")
    return response
