"""Step: the prompts of one iteration, from a model by 8-shot prompting, from a file, or from the demo world."""

import json
import random
from functools import partial

from selfreward_ray.errors import UserError
from selfreward_ray.inference.pool import Job, run_pool
from selfreward_ray.inference.programs import propose_prompt
from selfreward_ray.instructions.filters import TooSimilar, admit
from selfreward_ray.instructions.propose import demonstration_prompt, read_proposal
from selfreward_ray.recipe import Recipe
from selfreward_ray.records import Dropped, Prompt, Proposal, SftExample
from selfreward_ray.reporting.progress import Progress, skipped
from selfreward_ray.run_store import Manifest, Step, read_rows, write_part
from selfreward_ray.seed.demo.world import demo_prompts
from selfreward_ray.storage import Folder, read_text


def propose(recipe: Recipe, *, seed_data: str, iteration: int, out: str, label: str = "prompts") -> Manifest:
    """`Prompt` rows of `iteration` in `out` (paper, section 2.2, step 1). `seed_data` is a seed step's folder."""
    part = {"prompts": recipe.prompts.model_dump(), "seed": recipe.seed, "iteration": iteration}
    source = recipe.prompts.source
    inputs = {"seed": seed_data}
    if source != "demo":
        inputs["source"] = _proposer(recipe) if source == "model" else source
    step = Step("propose", out, part, inputs)
    if step.is_done():
        skipped(label)
        return step.manifest()
    with Progress(label, recipe.prompts.count, "prompts") as progress:
        if source == "model":
            return _from_model(recipe, step, seed_data, iteration, progress)
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


def _from_model(recipe: Recipe, step: Step, seed_data: str, iteration: int, progress: Progress) -> Manifest:
    """Rounds of proposals, filtered in the order of their ids, until `count` are kept or the budget is spent."""
    wanted = recipe.prompts
    rng = random.Random(f"propose {recipe.seed} {iteration}")
    seeds = [e.prompt for e in read_rows(Folder(seed_data), SftExample) if e.kind == "ift"]
    similar = TooSimilar(seeds, wanted.max_rouge_l)
    budget = wanted.max_requests or 20 * wanted.count
    kept: list[Prompt] = []
    dropped: list[Dropped] = []
    asked = tokens = 0
    while len(kept) < wanted.count:
        size = min(2 * (wanted.count - len(kept)), budget - asked)
        if size <= 0:
            raise UserError(
                f"prompts: {budget} proposals gave {len(kept)} of {wanted.count} prompts; raise prompts.max_requests "
                "or prompts.max_rouge_l, lower prompts.count, or give more seeds"
            )
        requests = [
            Prompt(f"it{iteration}/q{asked + i:06d}", _demonstrate(seeds, [p.text for p in kept], recipe, rng))
            for i in range(size)
        ]
        asked += size
        round_folder = step.folder / f"round-{asked:06d}"
        proposals, generated = _ask(recipe, requests, round_folder, progress)
        tokens += generated
        for proposal in proposals:
            reason = admit(proposal.text, proposal.finish_reason, similar)
            if reason is None and len(kept) == wanted.count:
                reason = "more prompts than were asked for"
            if reason is None:
                similar.add(proposal.text)
                kept.append(Prompt(f"it{iteration}/p{len(kept):06d}", proposal.text))
            else:
                dropped.append(Dropped(proposal.id, "propose", reason))
        dropped.extend(read_rows(round_folder, Dropped, "dropped"))
        round_folder.delete()
        progress.update(len(kept), tokens)
    step.write(kept, Prompt)
    step.write(dropped, Dropped, "dropped")
    return step.finish(offered=asked, tokens=tokens)


def _proposer(recipe: Recipe) -> str:
    return recipe.prompts.proposer or recipe.model


def _demonstrate(seeds: list[str], new: list[str], recipe: Recipe, rng: random.Random) -> str:
    shown_new = rng.sample(new, min(len(new), recipe.prompts.new_demonstrations))
    shown_seeds = rng.sample(seeds, min(len(seeds), recipe.prompts.seed_demonstrations))
    return demonstration_prompt(shown_seeds, shown_new, rng)


def _ask(recipe: Recipe, requests: list[Prompt], folder: Folder, progress: Progress) -> tuple[list[Proposal], int]:
    """The proposals of one round in the order of their ids, so that replicas' speed changes nothing."""
    folder.delete()  # an interrupted attempt's: its blocks may have been cut otherwise
    write_part(folder, "requests", requests, Prompt, "part-0")
    program = partial(propose_prompt, sampling=recipe.prompts.sampling, read=read_proposal)
    job = Job("propose", program, Prompt, Proposal, folder.uri, recipe.seed)
    progress.note("starting the engine")
    blocks = list(run_pool(folder / "requests", set(), _proposer(recipe), recipe.inference, job))
    proposals = sorted(read_rows(folder, Proposal), key=lambda proposal: proposal.id)
    return proposals, sum(block.generated_tokens for block in blocks)
