"""From people's rankings to M2 with the real engines: baseline, verdicts, EFT, proposals, constrained decoding.

The run's folder is in an object store: what every step writes, and every checkpoint, goes through S3's protocol.

The ranked replies are six words in random order, so the tiny model learns to write such lines: they are its
proposals too.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from test_loop import RECIPE
from tiny_model import write_tiny_model

from selfreward_ray.instructions.filters import length
from selfreward_ray.models import local_model
from selfreward_ray.records import JudgedPrompt, JudgedSet, Pair, Prompt, Proposal, RankedSet, SftExample
from selfreward_ray.run_layout import RunLayout
from selfreward_ray.run_store import read_manifest, read_rows

pytestmark = pytest.mark.engines

WORDS = "river stone bread garden quiet golden bridge warm evening fruit honest country people green white"
SETS = 60
PROMPTS = 12


def messages(rng: random.Random) -> list[dict[str, Any]]:
    """Flat messages: first-turn prompts with two ranked replies each, and three that can not be placed or used."""
    rows = []
    for i in range(SETS):
        tree = {"message_tree_id": f"t{i}", "lang": "en"}
        asked = f"Say {rng.choice(WORDS.split())} and the number {i}."
        rows.append({**tree, "message_id": f"t{i}", "role": "prompter", "text": asked})
        for rank in (1, 0):
            reply = {"message_id": f"t{i}/{rank}", "parent_id": f"t{i}", "role": "assistant", "rank": rank}
            rows.append({**tree, **reply, "text": " ".join(rng.sample(WORDS.split(), 6))})
    lost = {"message_tree_id": "t0", "role": "assistant", "text": "red", "rank": 0, "lang": "en"}
    rows.append({**lost, "message_id": "orphan", "parent_id": "nobody"})
    rows.append({**lost, "message_id": "a circle", "parent_id": "a circle"})
    rows.append({**lost, "message_id": "by a model", "parent_id": "t0", "rank": 2, "synthetic": True})
    rng.shuffle(rows)
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, submit: Callable[..., str], bucket: str) -> RunLayout:
    folder = tmp_path_factory.mktemp("rankings")
    run_dir = f"{bucket}/rankings"
    model = write_tiny_model(folder / "M0")
    source = folder / "messages.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in messages(random.Random(0))))
    values = {
        **RECIPE,
        "name": "rankings",
        "model": str(model),
        "seed_data": {"source": str(source), "ift": 30, "eft": 30, "held_out": 0},
        "prompts": {
            "count": PROMPTS,
            "seed_demonstrations": 2,
            "new_demonstrations": 1,
            "proposer": f"{run_dir}/M1/model",
            "requests_per_round": 4,
            "max_requests": 400,
            "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 32, "seeded": True},
        },
        # Long enough for six words to end in: a reply that is cut off may not be chosen.
        "respond": {**RECIPE["respond"], "sampling": {**RECIPE["respond"]["sampling"], "max_tokens": 48}},
        "judge": {**RECIPE["judge"], "rubric": "checklist", "constrained": True, "retries": 0},
        "pairs": {"policy": "length-controlled"},
        "dpo": {**RECIPE["dpo"], "batch_size": 2},
        "training": {**RECIPE["training"], "checkpoint_every": 3},
    }
    values["judge"]["sampling"] = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 32}
    recipe = folder / "rankings.yaml"
    recipe.write_text(yaml.safe_dump(values))
    submit("run.py", str(recipe), "--run-dir", run_dir)
    return RunLayout(run_dir)


def test_every_ranked_set_has_its_place_and_every_lost_message_its_reason(made: RunLayout) -> None:
    manifest = read_manifest(made.seed())
    assert manifest is not None
    assert manifest.metrics == {"ift": 30, "eft": 30, "held_out": 0}
    assert manifest.dropped == {"its parent is missing": 1, "its parents form a circle": 1, "reply is synthetic": 1}


def test_the_baseline_is_a_model_of_its_own(made: RunLayout) -> None:
    """SFT on the instructions alone; M1 starts from M0 again."""
    baseline, first = (
        load_file(next(local_model(f.uri).glob("*.safetensors"))) for f in (made.baseline(), made.model(1))
    )
    assert any(not baseline[name].equal(first[name]) for name in baseline)


def test_constrained_verdicts_all_end_in_a_score(made: RunLayout) -> None:
    sets = read_rows(made.verdicts(), JudgedSet)
    assert {s.id for s in sets} == {s.id for s in read_rows(made.seed(), RankedSet, "eft")}
    verdicts = [v for s in sets for reply in s.judged for v in reply.verdicts]
    assert len(verdicts) == 30 * 2 * 3
    assert all(v.score is not None and v.attempts == 1 for v in verdicts)
    judged = [c for row in read_rows(made.judged(2), JudgedPrompt) for c in row.candidates]
    assert all(v.score is not None for c in judged for v in c.verdicts)


def test_judging_rows_agree_with_the_people(made: RunLayout) -> None:
    manifest = read_manifest(made.eft())
    assert manifest is not None
    rows = {row.id.removesuffix("/eft"): row.target for row in read_rows(made.eft(), SftExample)}
    assert 30 <= len(rows) <= 31
    assert len(rows) + sum(manifest.dropped.values()) == 30 * 2
    scores = {reply: float(text.rsplit("Score: ", 1)[1]) for reply, text in rows.items()}
    both = [name for name in scores if name.endswith("/0") and f"{name[:-1]}1" in scores]
    assert both
    assert all(scores[name] > scores[f"{name[:-1]}1"] for name in both)


def test_prompts_are_proposed_in_rounds_and_filtered(made: RunLayout) -> None:
    prompts = read_rows(made.prompts(2), Prompt)
    assert all(length(p.text) is None for p in prompts)
    assert len({p.text for p in prompts}) == len(prompts) == PROMPTS
    manifest = read_manifest(made.prompts(2))
    assert manifest is not None
    proposals = read_rows(made.prompts(2) / "proposals", Proposal)
    assert len(proposals) == PROMPTS + sum(manifest.dropped.values())
    assert {p.id: p.text for p in prompts}.items() <= {p.id: p.text for p in proposals}.items()
    assert len(proposals) > 4, "more than one round"


def test_pairs_are_exported(made: RunLayout, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    command = [Path(sys.executable).parent / "selfreward", "export", made.pairs(2).uri, "--out", out]
    subprocess.run(command, check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == [pair.id for pair in read_rows(made.pairs(2), Pair)]
    assert read_manifest(made.model(2)) is not None
