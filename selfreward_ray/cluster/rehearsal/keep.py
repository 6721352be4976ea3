"""Keep the files of a failed rehearsal for inspection: its folder, Ray's logs, and the bucket."""

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from selfreward_ray.cluster.rehearsal.bucket import save_bucket

RAY_FOLDER = "ray"
"""Subfolder of a rehearsal for Ray's sessions, with sockets, spilled objects and logs."""


def keep(folder: Path, run_dir: str, environment: Mapping[str, str]) -> str:
    """Copy the rehearsal's `folder`, Ray's logs in it, and the bucket of `run_dir`. Returns where they are, as text."""
    kept = Path(tempfile.mkdtemp(prefix="rehearsal-failed-"))
    _copy(folder, kept, without=folder / RAY_FOLDER)
    said = [f"its folder and recipe are kept in {kept}"]
    logs = folder / RAY_FOLDER / "session_latest" / "logs"
    if logs.is_dir():
        _copy(logs, kept / "ray-logs")
        said.append(f"Ray's logs in {kept / 'ray-logs'}")
    if run_dir.startswith("s3://"):
        try:
            save_bucket(run_dir, environment, kept / "bucket")
            said.append(f"what the run wrote in {kept / 'bucket'}")
        except OSError as error:
            said.append(f"what the run wrote cannot be read any more ({error})")
    return ", ".join(said)


def _copy(source: Path, target: Path, without: Path | None = None) -> None:
    """Copy all files that can be copied. Sockets and pipes cannot, and a log may disappear."""

    def ignored(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder) / name == without]

    with suppress(shutil.Error):  # raised after everything else is copied
        shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
