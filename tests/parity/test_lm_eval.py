"""Tasks of lm-eval on the pool: local ones, since no test has a network.

`make test-parity` installs lm-eval; `make test` leaves these tests out by their marker.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted_model import ScriptedModel, completion, pool_of
from tiny_model import ENGINE_ENV
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from selfreward_ray.cli import app
from selfreward_ray.errors import UserError
from selfreward_ray.evaluation.tasks import NAMED, load_tasks
from selfreward_ray.inference.scoring import Score
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import TaskAnswer
from selfreward_ray.steps.benchmark import benchmark
from selfreward_ray.steps.pooled import run_pooled
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import Manifest
from selfreward_ray.store.tables import read_rows

pytestmark = [pytest.mark.engines, pytest.mark.parity]

CHOICES = [" rivers are quiet", " gardens have bridges", " fruits grow in a warm country"]
DOCUMENTS = [
    {"question": f"Name the {word} thing, and say why.", "choices": CHOICES[: 2 + i % 2], "gold": i % 2}
    for i, word in enumerate(["first", "second", "golden", "warm", "quiet", "last"])
]
MAX_TOKENS = 12
UNTIL = "e"
RECIPE = Recipe.model_validate({"model": "m0", "inference": {"rows_per_block": 4}})


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def only_local_tasks() -> Iterator[None]:
    """lm-eval reads its 14,000 definitions of tasks in half a minute."""
    from lm_eval.tasks import TaskManager

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "lm_eval.tasks.TaskManager",
            lambda include_path: TaskManager(include_path=include_path, include_defaults=False),
        )
        yield


@pytest.fixture
def tasks_dir(tmp_path: Path) -> str:
    """A group with one task that scores choices, and tasks that generate texts."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS))
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / "data.jsonl")}}}
    asked = {"test_split": "test", "doc_to_text": "Question: {{question}}\nAnswer:", **data}
    accuracy = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
    match = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    generation = {"until": [UNTIL], "do_sample": False, "max_gen_toks": MAX_TOKENS}
    writes = {"output_type": "generate_until", "doc_to_target": "x", "generation_kwargs": generation, **asked}
    tasks: dict[str, Any] = {
        "choose": {
            "output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "gold",
            "target_delimiter": "", "metric_list": [accuracy], **asked,
        },
        "write": {"metric_list": [match], **writes},
        "run_code": {"metric_list": [match], "unsafe_code": True, **writes},
        "beams": {"metric_list": [match], **writes, "generation_kwargs": {"num_beams": 4}},
        "remote": {"metric_list": [match], **writes, "dataset_path": "nobody/nothing", "dataset_kwargs": {}},
    }  # fmt: skip
    for name, task in tasks.items():
        (folder / f"{name}.yaml").write_text(json.dumps({"task": name, **task}))
    group = {"group": "both", "task": ["choose"], "aggregate_metric_list": [{"metric": "acc"}]}
    (folder / "both.yaml").write_text(json.dumps(group))
    return str(folder)


class Scripted(ScriptedModel):
    """Prefers short choices, and writes the same text each time."""

    context = 4096

    async def score(self, prompt: list[int], target: list[int], request_id: str) -> Score:
        self.asked.append(request_id)
        return Score(-float(len(target)), False)

    async def complete(self, prompt: list[int], sampling: Any, until: Any, request_id: str) -> Any:
        self.asked.append(request_id)
        return completion("x" + UNTIL)


@pytest.fixture
def measured(tiny_model: Path, tasks_dir: str, only_local_tasks: None) -> Callable[..., Manifest]:
    def run(model: ScriptedModel, out: Path, stop_after: int | None = None, **options: Any) -> Manifest:
        settings: dict[str, Any] = {"tasks": ["both", "write"], "tasks_dir": tasks_dir, **options}
        pool = pool_of(model, stop_after)
        return benchmark(
            RECIPE, model=str(tiny_model), out=str(out), run=partial(run_pooled, open_pool=pool), **settings
        )

    return run


def test_all_kinds_of_requests_share_a_pool_and_an_interrupted_command_continues(
    measured: Callable[..., Manifest], tmp_path: Path
):
    first, second, third = (Scripted(lambda text, row: "") for _ in range(3))
    with pytest.raises(KeyboardInterrupt):
        measured(first, tmp_path / "out", stop_after=3)
    manifest = measured(second, tmp_path / "out")
    assert (len(first.asked), len(second.asked)) == (12, 9)
    assert len({*first.asked, *second.asked}) == 15 + 6
    found = {row["task"]: row["value"] for row in manifest.metrics["figures"]}
    assert found == {"choose": 0.5, "both": 0.5, "write": 1.0}
    assert measured(third, tmp_path / "out") == manifest
    assert third.asked == []
    with pytest.raises(UserError, match="made from another recipe or other inputs"):
        measured(third, tmp_path / "out", limit=2)


def test_prompts_have_the_chat_template_and_examples_if_asked_for(
    measured: Callable[..., Manifest], tmp_path: Path, tiny_model: Path
):
    class Reading(Scripted):
        async def complete(self, prompt: list[int], *more: Any) -> Any:
            prompts.append(tokenizer.decode(prompt))
            return completion("")

    prompts: list[str] = []
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    options = {"tasks": ["write"], "limit": 1, "chat_template": True, "few_shot": 1}
    manifest = measured(Reading(lambda text, row: ""), tmp_path / "out", **options)
    (row,) = manifest.metrics["figures"]
    assert (row["few_shot"], row["documents"]) == (1, 1)
    (prompt,) = prompts
    assert prompt.startswith("<|im_start|>user\nQuestion: Name the ")
    assert "Answer:<|im_end|>\n<|im_start|>assistant\nx<|im_end|>" in prompt
    assert prompt.endswith(
        "<|im_start|>user\nQuestion: Name the first thing, and say why.\nAnswer:<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_request_without_an_answer_gives_no_figure(measured: Callable[..., Manifest], tmp_path: Path):
    model = Scripted(lambda text, row: "")
    model.context = MAX_TOKENS
    with pytest.raises(UserError, match=r"(?s)requests have no answer.*exceed the context of 12.*max_model_len"):
        measured(model, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_what_cannot_be_run_is_refused_by_name(tasks_dir: str, measured: Callable[..., Manifest], tmp_path: Path):
    for tasks, message in [
        (["writes"], r"no task 'writes'; near names: write"),
        (["run_code"], r"run_code runs code that the model writes"),
        (["remote"], r"remote cannot be loaded: \w+Error: .*nobody/nothing.*HF_HOME.*--tasks-dir"),
        (["both", "choose"], r"Duplicate task 'choose'.*name each task once"),
        (["beams"], r"the generation settings of beams include num_beams"),
    ]:
        with pytest.raises(UserError, match=message):
            measured(Scripted(lambda text, row: ""), tmp_path / tasks[0], tasks=tasks)
    with pytest.raises(UserError, match="--tasks-dir: there is no folder 'nowhere'"):
        measured(Scripted(lambda text, row: ""), tmp_path / "out", tasks_dir="nowhere")


def test_the_papers_tasks_and_ifeval_are_known_and_their_data_are_named_as_missing(monkeypatch: pytest.MonkeyPatch):
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda include_path: manager)
    assert {*NAMED["paper"], "ifeval"} <= manager.task_index.keys()
    with pytest.raises(UserError, match=r"arc_easy cannot be loaded: .*allenai/ai2_arc.*HF_ENDPOINT"):
        load_tasks(["arc_easy"], None)


def test_figures_of_the_engine_equal_those_of_transformers(
    tiny_model: Path, tasks_dir: str, only_local_tasks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of the whole command, in float32: log-probabilities, accuracy and texts."""
    recipe = tmp_path / "recipe.yaml"
    engine = {
        "dtype": "float32", "max_model_len": 256, "max_num_seqs": 8, "enforce_eager": True, "block_size": 32,
        "kv_cache_memory_bytes": 1 << 28, "distributed_executor_backend": "uni",
    }  # fmt: skip
    recipe.write_text(json.dumps({"model": "m0", "inference": {"engine": engine, "env": ENGINE_ENV}}))
    out = tmp_path / "out"
    command = ["benchmark", str(recipe), "--model", str(tiny_model), "--tasks", "both,write"]
    result = CliRunner().invoke(app, [*command, "--tasks-dir", tasks_dir, "--out", str(out)])
    assert result.exit_code == 0, (result.output, result.exception)

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    contexts = [f"Question: {row['question']}\nAnswer:" for row in DOCUMENTS]
    scores = [
        [scored(model, tokenizer, context, choice) for choice in row["choices"]]
        for context, row in zip(contexts, DOCUMENTS, strict=True)
    ]
    answers = read_rows(Folder(str(out / "requests")), TaskAnswer)
    found = sorted(row.logprob for row in answers if row.logprob is not None)
    assert found == pytest.approx(sorted(score for row in scores for score in row), rel=1e-3)
    right = [row.index(max(row)) == document["gold"] for row, document in zip(scores, DOCUMENTS, strict=True)]
    assert sorted(row.text for row in answers if row.text is not None) == sorted(
        written(model, tokenizer, context) for context in contexts
    )
    figures = {row["task"]: row for row in json.loads((out / "manifest.json").read_text())["metrics"]["figures"]}
    assert figures["choose"]["value"] == figures["both"]["value"] == pytest.approx(sum(right) / 6)
    assert 0 < sum(right) < 6
    results = json.loads((out / "results.json").read_text())
    assert results["results"]["choose"]["acc,none"] == figures["choose"]["value"]
    assert results["config"]["model_args"] == {"pretrained": str(tiny_model)}
    shown = " ".join(result.output.split())
    assert f"both acc {sum(right) / 6:.4f} {figures['both']['standard_error']:.4f}" in shown
    assert "choose acc" not in shown


def scored(model: Any, tokenizer: Any, context: str, choice: str) -> float:
    prompt, target = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (context, choice))
    assert tokenizer(context + choice)["input_ids"] == prompt + target
    with torch.no_grad():
        logits_TV = model(torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
    return float(torch.log_softmax(logits_TV, -1)[range(len(target)), target].sum())


def written(model: Any, tokenizer: Any, context: str) -> str:
    prompt = torch.tensor([tokenizer(context)["input_ids"]])
    ids = model.generate(prompt, max_new_tokens=MAX_TOKENS, do_sample=False)[0, prompt.shape[1] :]
    # Of a character that is cut off at the end vLLM writes nothing.
    return str(tokenizer.decode(ids)).split(UNTIL)[0].removesuffix(tokenizer.eos_token).rstrip("\ufffd")
