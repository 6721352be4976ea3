"""Step: judged candidates → training rows. Ray Data streams the rows; no engine is needed.

The driver's memory does not grow with the rows: tasks write the rows, and return only counts.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data

from selfreward_ray.evaluation.candidates import candidate_figures, count_candidates
from selfreward_ray.preferences import POLICIES
from selfreward_ray.preferences.candidate_set import build_candidate_set
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used
from selfreward_ray.records import Dropped, JudgedPrompt, Pair
from selfreward_ray.reporting.formatting import amount
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.steps.shared_texts import constant_keys, find_shared_texts, listed
from selfreward_ray.store.arrow import from_table
from selfreward_ray.store.blocks import BLOCKS
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.step import Step, finished_step
from selfreward_ray.store.tables import count_reasons, file_rows, read_blocks, write_block

_ROWS_PER_BLOCK = 1024
_ROWS_PER_TASK = 4096


def pair(
    recipe: Recipe,
    *,
    judged: str,
    out: str,
    label: str = "pair",
    cluster: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Manifest:
    """`judged` (a respond or a judge step) → rows of the policy's record (paper, section 2.3).

    The table `flagged` lists the candidates in which `preferences.flags` found a fault; the manifest's metrics count
    the reasons, and hold the figures of all `candidates`. A flagged candidate is not a dropped row: its prompt may
    still yield a pair. `cluster` joins one, where that is not done yet.
    """
    part = {"pairs": used(recipe.pairs), "min_valid": recipe.judge.min_valid}
    source = finished_step(judged, "respond", "judge")
    step = Step("pair", out, part, {"judged": judged})
    if step.is_done():
        skipped(label)
        return step.manifest()
    for name in (BLOCKS, "rows", "dropped", "flagged"):
        (step.folder / name).delete()  # of an interrupted attempt, whose blocks may have other boundaries
    table = _Table(source / "rows")
    offered = table.rows
    with cluster(), Progress(label, offered, "prompts") as progress:
        progress.note("looking for replies that many prompts share")
        shared = find_shared_texts(table.stream, offered, recipe.pairs)
        progress.note("")
        done = kept = 0
        counts: Counter[str] = Counter()
        constant = constant_keys(shared)
        write = partial(_pair_block, recipe=recipe, constant=constant, source=judged, out=step.folder.uri)
        for block in table.stream(write):
            done += block["prompts"]
            kept += block["kept"]
            counts.update(json.loads(block["counts"]))
            progress.update(done)
        flagged = dict(count_reasons(step.folder / "flagged").most_common())
        metrics = {"flagged": flagged, "shared_texts": listed(shared), "candidates": candidate_figures(counts)}
        manifest = step.finish(offered=offered, kept=kept, metrics=metrics)
        made = "pair" if POLICIES[recipe.pairs.policy].record is Pair else "example"
        progress.result(f"{amount(manifest.rows.get('rows', 0), made)} from {amount(offered, 'prompt')}")
        return manifest


def _pair_block(batch: pa.Table, recipe: Recipe, constant: frozenset[bytes], source: str, out: str) -> pa.Table:
    """Write the rows, the dropped rows and the flagged replies of one block. Returns only counts."""
    policy = POLICIES[recipe.pairs.policy]
    judged = from_table(batch, JudgedPrompt, source)
    candidate_sets = [build_candidate_set(prompt, recipe.judge, constant, recipe.pairs) for prompt in judged]
    outcomes: list[Any] = [policy.choose(candidates, recipe.pairs) for candidates in candidate_sets]
    rows = [row for o in outcomes if not isinstance(o, Dropped) for row in o]
    dropped = [o for o in outcomes if isinstance(o, Dropped)]
    flagged = [c for candidates in candidate_sets for c in candidates.flagged]
    write_block(Folder(out), [c.prompt.id for c in candidate_sets], rows, policy.record, dropped, flagged)
    counts = json.dumps(count_candidates(judged, rows, recipe.judge.min_valid))
    return pa.Table.from_pylist(
        [{"prompts": len(candidate_sets), "kept": len(candidate_sets) - len(dropped), "counts": counts}]
    )


class _Table:
    """A table of judged prompts. Each Ray Data task reads a run of its files.

    Ray Data's own reader takes ten times as long per file, and steps of earlier versions have one for each few prompts.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._tasks: list[dict[str, list[str]]] = []
        self.rows = held = 0
        for path, rows in file_rows(folder):
            if not self._tasks or held >= _ROWS_PER_TASK:
                self._tasks.append({"paths": []})
                held = 0
            self._tasks[-1]["paths"].append(path)
            held += rows
            self.rows += rows

    def stream(self, function: Callable[[pa.Table], pa.Table], columns: list[str] | None = None) -> Iterator[Any]:
        """Apply `function` to each block, an Arrow table of judged prompts, and yield the rows of the results."""
        if not self._tasks:
            return iter(())
        runs = ray.data.from_items(self._tasks, override_num_blocks=len(self._tasks))
        read = partial(_run_task, folder=self._folder, function=function, columns=columns)
        return iter(runs.map_batches(read, batch_format="pyarrow").iter_rows())


def _run_task(
    batch: pa.Table, folder: Folder, function: Callable[[pa.Table], pa.Table], columns: list[str] | None
) -> Iterator[pa.Table]:
    for paths in batch["paths"].to_pylist():
        yield from map(function, read_blocks(folder, paths, _ROWS_PER_BLOCK, columns))
