"""Step: the prompts of one iteration, from a model by 8-shot prompting, from a file, or from the demo world."""

import json

from selfreward_ray.errors import UserError
from selfreward_ray.recipe import Recipe
from selfreward_ray.records import Prompt
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.run_store import Manifest, Step
from selfreward_ray.seed.demo.world import demo_prompts
from selfreward_ray.steps.proposing import propose_by_model, proposer
from selfreward_ray.storage import read_text


def propose(recipe: Recipe, *, seed_data: str, iteration: int, out: str, label: str = "prompts") -> Manifest:
    """`Prompt` rows of `iteration` in `out` (paper, section 2.2, step 1). `seed_data` is a seed step's folder."""
    part = {"prompts": recipe.prompts.model_dump(), "seed": recipe.seed, "iteration": iteration}
    source = recipe.prompts.source
    inputs = {"seed": seed_data}
    if source != "demo":
        inputs["source"] = proposer(recipe) if source == "model" else source
    step = Step("propose", out, part, inputs)
    if step.is_done():
        skipped(label)
        return step.manifest()
    with Progress(label, recipe.prompts.count, "prompts") as progress:
        if source == "model":
            return propose_by_model(recipe, step, seed_data, iteration, progress)
        if source == "demo":
            prompts = demo_prompts(recipe.prompts.count, recipe.seed, iteration)
        else:
            prompts = _from_file(source, recipe.prompts.count, iteration)
        step.write(prompts, Prompt)
        progress.update(len(prompts))
        return step.finish(offered=len(prompts))


def _from_file(source: str, count: int, iteration: int) -> list[Prompt]:
    """The iteration's own stretch of the file's prompts."""
    # Not splitlines: a JSON string may hold U+2028 and its like as they are.
    numbered = enumerate(read_text(source, "prompts.source").split("\n"), start=1)
    lines = [(n, line) for n, line in numbered if line.strip()]
    first = count * (iteration - 1)
    if len(lines) < first + count:
        raise UserError(
            f"prompts.source: {source} has {len(lines)} prompts; iteration {iteration} needs rows {first + 1} to "
            f"{first + count}: lower prompts.count, or give a longer file"
        )
    prompts: list[Prompt] = []
    for number, line in lines[first : first + count]:
        try:
            text = json.loads(line)["prompt"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str) or not text.strip():
            raise UserError(f'{source}:{number}: a line must be {{"prompt": "…"}}, but is {line[:80]!r}')
        prompts.append(Prompt(f"it{iteration}/p{len(prompts):06d}", text))
    return prompts
