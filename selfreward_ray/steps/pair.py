"""Step: judged candidates → preference pairs. Ray Data streams the rows; no engine is needed."""

from functools import partial

import pyarrow as pa

from selfreward_ray.inference.pool import read_table
from selfreward_ray.preferences import POLICIES
from selfreward_ray.recipe import Recipe
from selfreward_ray.records import Dropped, JudgedPrompt, Pair
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.run_store import Manifest, Step, count_rows, write_block
from selfreward_ray.storage import Folder
from selfreward_ray.tables import from_table

_ROWS_PER_BLOCK = 1024


def pair(recipe: Recipe, *, judged: str, out: str, label: str = "pair") -> Manifest:
    """`judged` (a respond step) → `Pair` rows (paper, section 2.3)."""
    part = {"pairs": recipe.pairs.model_dump(), "min_valid": recipe.judge.min_valid}
    step = Step("pair", out, part, {"judged": judged})
    if step.is_done():
        skipped(label)
        return step.manifest()
    for table in ("rows", "dropped"):
        (step.folder / table).delete()  # an interrupted attempt's: its blocks may have been cut otherwise
    rows = Folder(judged) / "rows"
    offered = count_rows(rows)
    with Progress(label, offered, "prompts") as progress:
        blocks = read_table(rows, _ROWS_PER_BLOCK).map_batches(
            partial(_pair_block, recipe=recipe, out=step.folder.uri),
            batch_format="pyarrow",
            batch_size=_ROWS_PER_BLOCK,
        )
        done = kept = 0
        for block in blocks.iter_rows():
            done += block["prompts"]
            kept += block["kept"]
            progress.update(done)
        return step.finish(offered=offered, kept=kept)


def _pair_block(batch: pa.Table, recipe: Recipe, out: str) -> pa.Table:
    """Write the pairs and the drops of one block; returns only its counts."""
    prompts = from_table(batch, JudgedPrompt)
    outcomes = [POLICIES[recipe.pairs.policy](prompt, recipe.judge) for prompt in prompts]
    pairs = [p for o in outcomes if not isinstance(o, Dropped) for p in o]
    dropped = [o for o in outcomes if isinstance(o, Dropped)]
    write_block(Folder(out), [p.id for p in prompts], pairs, Pair, dropped)
    return pa.Table.from_pylist([{"prompts": len(prompts), "kept": len(prompts) - len(dropped)}])
