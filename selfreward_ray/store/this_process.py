"""How a process that works on a run is named to others."""

import json
import os
import socket
from datetime import datetime
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.store.folder import Folder


def this_process() -> str:
    """Its number, host, Ray job if it is one, and the time."""
    who = f"process {os.getpid()} on {socket.gethostname()}"
    job = _job()
    return f"{who}{f', job {job},' if job else ''} since {datetime.now():%Y-%m-%d %H:%M:%S}"


def at_work(run: Folder, process: str) -> UserError:
    """The error for a process that asks for a run on which `process` works."""
    return UserError(f"{run.uri} is at work by {process}; wait until that has ended, or stop it")


def _job() -> str | None:
    """The submission id, which ``ray job`` gives to the process that it starts."""
    config: dict[str, Any] = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    job: str | None = config.get("metadata", {}).get("job_submission_id")
    return job
