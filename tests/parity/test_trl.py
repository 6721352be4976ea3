"""Three steps of this package's worker beside three of TRL's `DPOTrainer`: the same model, pairs and hyper-parameters.

`make test-parity` installs TRL and runs it; `make test` leaves it out by its marker.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.recipe.training import Dpo
from selfreward_ray.records import Candidate, Pair, PairTokens
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import write_part
from selfreward_ray.training.examples import pair_tokens

pytestmark = [pytest.mark.engines, pytest.mark.parity]

STEPS = 3
BATCH = 4
PROMPTS = ["Name three fruits.", "Why do people like rivers?", "Write one sentence about a garden and its bridge."]
CHOSEN = ["They are quiet.", "Honestly, every garden has a golden bridge where people sit together.", "Fruit", "Yes."]
REJECTED = [
    "No, and say why you like them in the evening.",
    "a b",
    "It is clearly written, and it answers the question",
]
LOSSES = {"sigmoid": "sigmoid", "length-normalized": "sigmoid_norm", "ipo": "ipo"}
"""This package's name and TRL's."""
FIGURES = {
    "loss": "loss",
    "chosen_reward": "rewards/chosen",
    "rejected_reward": "rewards/rejected",
    "accuracy": "rewards/accuracies",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
}
TOLERANCE = 1e-4


def texts() -> list[Pair]:
    """Twelve pairs, no two alike, of replies of very different lengths."""
    return [
        Pair(
            f"p{i}",
            PROMPTS[i % 3],
            (),
            Candidate("c", CHOSEN[i % 4], (), True),
            Candidate("r", REJECTED[i // 4], (), True),
        )
        for i in range(STEPS * BATCH)
    ]


def section(loss: str) -> Dpo:
    """A rate that moves the weights, falling to a third as TRL's linear schedule does in three steps, and a norm that
    every gradient exceeds. A step is two forward passes here and one there."""
    return Dpo(
        loss=loss,
        beta=0.5,
        learning_rate=9e-4,
        final_learning_rate=3e-4,
        schedule="linear",
        batch_size=BATCH,
        micro_batch_tokens=64,
        gradient_clipping=0.5,
    )


def ours(model: Path, pairs: list[PairTokens], dpo: Dpo, folder: Path) -> list[dict[str, Any]]:
    write_part(Folder(str(folder)), "rows", pairs, PairTokens, "pairs")
    rank = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    subprocess.run(
        [sys.executable, Path(__file__).with_name("worker_steps.py"), model, folder, dpo.model_dump_json()],
        env={**os.environ, **rank, "DS_ACCELERATOR": "cpu"},
        check=True,
        timeout=240,
    )
    return Folder(str(folder)).read_json("steps.json")


def theirs(model: Path, pairs: list[Pair], dpo: Dpo, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """TRL's figures of each step, and the rows that it encoded."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def row(pair: Pair) -> dict[str, str]:
        # As plain text: of a conversation TRL trains what ChatML writes after the end token, too.
        asked = [{"role": "user", "content": pair.prompt}]
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        return {"prompt": prompt, "chosen": pair.chosen.text, "rejected": pair.rejected.text}

    trainer = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        args=DPOConfig(
            output_dir=str(folder),
            loss_type=LOSSES[dpo.loss],
            beta=dpo.beta,
            learning_rate=dpo.learning_rate,
            lr_scheduler_type="linear",
            max_grad_norm=dpo.gradient_clipping,
            per_device_train_batch_size=BATCH,
            max_steps=STEPS,
            train_sampling_strategy="sequential",
            max_length=None,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([row(pair) for pair in pairs]),
        processing_class=tokenizer,
    )
    trainer.train()
    return [log for log in trainer.state.log_history if "grad_norm" in log], list(trainer.train_dataset)


@pytest.mark.parametrize("loss", LOSSES)
def test_three_steps_are_those_of_trl(loss: str, tiny_model: Path, tmp_path: Path):
    """Loss, rewards, gradient norm and rate of each step: within 1e-4, relative; the encoded pairs: equal."""
    codec, dpo = ChatCodec(tiny_model), section(loss)
    pairs = {pair.id: pair for pair in texts()}
    encoded = {name: pair_tokens(pair, lambda: codec) for name, pair in pairs.items()}
    here = ours(tiny_model, list(encoded.values()), dpo, tmp_path / "ours")
    order = [name for step in here for name in step["ids"]]
    there, rows = theirs(tiny_model, [pairs[name] for name in order], dpo, tmp_path / "theirs")
    assert [tuple(tuple(row[column]) for column in ("prompt_ids", "chosen_ids", "rejected_ids")) for row in rows] == [
        (encoded[name].prompt_ids, encoded[name].chosen_ids, encoded[name].rejected_ids) for name in order
    ]
    assert (len(here), len(there)) == (STEPS, STEPS)
    for step, (one, other) in enumerate(zip(here, there, strict=True)):
        assert one["grad_norm"] > dpo.gradient_clipping, "so that clipping shows"
        for name, their_name in FIGURES.items():
            assert one[name] == pytest.approx(other[their_name], rel=TOLERANCE, abs=1e-7), (step, name)
    assert here[-1]["chosen_reward"] > 0.1, "so that the updates show"
