"""Every shipped recipe can be used, and the figures of those for GPUs come out: passes are filled, engines are kept
busy, and what a GPU must hold is less than it has.

The estimates of memory are what the recipes' comments say, line by line. They are meant to be upper bounds; the one
measurement that there is, of a model of 1B on an H100 (docs/benchmarks.md), is held against them.
"""

import math
import random
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from selfreward_ray.inference.placement import pool_size
from selfreward_ray.judging.rubric import load_pairwise, load_rubric
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import load_recipe
from selfreward_ray.recipe.training import Optimization
from selfreward_ray.records import SftTokens
from selfreward_ray.steps.evaluate import agreement_verdicts
from selfreward_ray.training.batches import plan_batches

RECIPES = sorted((Path(__file__).parents[2] / "selfreward_ray" / "recipe" / "recipes").glob("*.yaml"))
GB = 1e9

DEMONSTRATIONS = 500
"""Tokens of a request for a proposal before the reply: eight first-turn prompts of some 60 tokens, and the frame."""
BUSY = 0.6
"""Share of the requests that an engine can run at once which a round of proposals gives it, at the least.

Not more: a round has at most a quarter of the prompts (see below). Of 5,000 prompts that is 61 % of what eight engines
can run. Only on GPUs: a step of an engine on a CPU takes the longer, the more requests are in it.
"""
FILLED = 0.65
"""Share of `micro_batch_tokens` that a rank has of a step, at the least, at the mean length of the examples.

Not more: a step that has more tokens than all ranks' budgets takes two passes, each half full, and the lengths of a
step's examples vary. At 0.78 this begins where examples are a fifth longer than the recipe assumes, as
`test_a_step_is_one_pass_also_where_examples_are_longer` shows. More tokens would need larger batches, and these are
the paper's, or four times as large.
"""
LONGER = 1.2
"""How much longer than assumed examples may be on the average without a second pass."""
SPREAD = 0.7
"""Standard deviation of the examples' lengths, as a share of their mean; a guess."""


@dataclass(frozen=True)
class Shape:
    """Of a Llama or Qwen2, as its config.json on the hub says, and what follows."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool = False
    qkv_bias: bool = False

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        query, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        bias = (query + 2 * kv) if self.qkv_bias else 0
        return self.hidden * (2 * query + 2 * kv + 3 * self.intermediate + 2) + bias

    @property
    def parameters(self) -> int:
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * self.layer + self.hidden

    @property
    def kv_bytes(self) -> int:
        """Of KV cache that a token takes in bfloat16: a key and a value of each layer."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2


@dataclass(frozen=True)
class Machine:
    """What a recipe says it is for."""

    shape: Shape
    training_gb: float
    inference_gb: float
    cpus: int
    """Of a node, for a replica's share of it and for the workers on it."""
    gpus: int = 8


LLAMA_1B = Shape(16, 2048, 8192, 32, 8, 64, 128_256, tied=True)
LLAMA_8B = Shape(32, 4096, 14_336, 32, 8, 128, 128_256)
LLAMA_70B = Shape(80, 8192, 28_672, 64, 8, 128, 32_000)
QWEN_HALF_B = Shape(24, 896, 4864, 14, 2, 64, 151_936, tied=True, qkv_bias=True)

MACHINES = {
    "qwen2.5-0.5b-1gpu": Machine(QWEN_HALF_B, 24, 24, cpus=4, gpus=1),
    "llama3.1-8b-8gpu": Machine(LLAMA_8B, 80, 80, cpus=96),
    "llama2-70b": Machine(LLAMA_70B, training_gb=80, inference_gb=48, cpus=192),
}
ON_GPUS = [path for path in RECIPES if path.stem in MACHINES]

each = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
each_on_gpus = pytest.mark.parametrize("path", ON_GPUS, ids=lambda path: path.stem)


def training_bytes(shape: Shape, ranks: int, tokens: int) -> float:
    """Of one rank at the most: ZeRO-3 in bfloat16, gradients summed in float32, a pass of so many tokens."""
    states = (2 + 4 + 4 + 8) * shape.parameters / ranks
    checkpoints = shape.layers * shape.hidden * 2 * tokens
    # The layer that is computed again: its activations and their gradients, about six of the hidden size and three of
    # the MLP's.
    at_work = 2 * 2 * (6 * shape.hidden + 3 * shape.intermediate) * tokens
    logits = 2**27 * (2 + 4 + 4)  # head.py: in bfloat16, in float32, and a product of these
    head = 2 * shape.vocabulary * shape.hidden * 2  # its gradient, and the sum of it with that of tied embeddings
    gathered = 2 * min(shape.parameters, 1.05e9)  # DeepSpeed's stage3_max_live_parameters and prefetch bucket
    gradients = 2 * shape.layer
    cuda = 1.5 * GB
    return states + checkpoints + at_work + logits + head + gathered + gradients + cuda


def kv_tokens(shape: Shape, gpus: int, gpu_gb: float) -> float:
    """Tokens that fit into a replica's KV cache: vLLM takes 92 % of each GPU, and 3 GB for its own buffers."""
    return (gpus * (0.92 * gpu_gb - 3.0) * GB - 2 * shape.parameters) / shape.kv_bytes


def longest_pass(optimization: Optimization, sequences: int) -> int:
    """Tokens of one rank's pass at the most: an example longer than the budget has a pass of its own."""
    return max(optimization.micro_batch_tokens, sequences * optimization.max_tokens)


def requests_at_once(recipe: Recipe, tokens: int) -> int:
    """Requests of so many tokens that one replica runs at a time; vLLM's own default is 128 sequences."""
    return min(recipe.inference.tokens_in_flight // tokens, recipe.inference.engine.get("max_num_seqs", 128))


def mean_lengths(path: Path) -> tuple[int, int]:
    """Of an SFT example and of a pair, as the recipe's comments assume."""
    stated = re.search(r"# Mean lengths assumed: (\d+) tokens an SFT example, (\d+) a DPO pair\.", path.read_text())
    assert stated is not None
    return int(stated[1]), int(stated[2])


def test_there_are_recipes_to_load():
    assert {"quickstart", *MACHINES} <= {path.stem for path in RECIPES}
    assert {p.stem for p in RECIPES if load_recipe(p).training.gpus_per_worker} == set(MACHINES)


@each
def test_a_shipped_recipe_can_be_used(path: Path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    load_rubric(recipe.judge.rubric)
    load_pairwise(recipe.judge.pairwise_rubric)
    for optimization in (recipe.sft, recipe.dpo):
        assert optimization.batch_size >= recipe.training.workers  # the trainer refuses less


@pytest.mark.parametrize("name", ["quickstart", "proof"])
def test_the_demo_world_is_evaluated_with_one_verdict_per_reply(name: str):
    """As cheaply as before `evaluation.verdicts`: their judges give one verdict in the loop too."""
    assert agreement_verdicts(load_recipe(name)) == 1


@pytest.mark.parametrize(
    ("shape", "published"),
    [(LLAMA_1B, 1_235_814_400), (LLAMA_8B, 8_030_261_248), (LLAMA_70B, 68_976_648_192), (QWEN_HALF_B, 494_032_768)],
)
def test_the_shapes_are_those_of_the_models(shape: Shape, published: int):
    assert shape.parameters == published


def test_the_estimate_of_training_is_above_what_was_measured_and_not_far():
    measured = 27.8 * GB  # 64 pairs a step in passes of 32,768 tokens on one rank
    assert measured < training_bytes(LLAMA_1B, 1, 32_768) < 1.3 * measured


@each_on_gpus
def test_a_step_fills_a_pass_of_every_rank(path: Path):
    """On CPUs a pass costs by its tokens alone; on GPUs one of few tokens costs nearly what a full one does."""
    recipe = load_recipe(path)
    for optimization, length in zip((recipe.sft, recipe.dpo), mean_lengths(path), strict=True):
        share = optimization.batch_size * length / recipe.training.workers
        assert share >= FILLED * optimization.micro_batch_tokens


def spread_examples(mean: float, longest: int) -> list[SftTokens]:
    """Two thousand of log-normal lengths, which share nothing."""
    sigma = math.sqrt(math.log(1 + SPREAD**2))
    rng = random.Random(0)
    lengths = [int(rng.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)) for _ in range(2000)]
    return [SftTokens(str(i), (i,), (2,) * min(max(n, 2), longest)) for i, n in enumerate(lengths)]


def passes_a_step(examples: list[SftTokens], optimization: Optimization, ranks: int) -> float:
    plan = plan_batches(examples, optimization, ranks, seed=0)
    return sum(len(batch.ranks[0]) for batch in plan) / len(plan)


@each_on_gpus
def test_a_step_is_one_pass_also_where_examples_are_longer(path: Path):
    """Each pass gathers all weights again. Budgets that the mean length alone would fill are too small."""
    recipe = load_recipe(path)
    for optimization, mean in zip((recipe.sft, recipe.dpo), mean_lengths(path), strict=True):
        ranks = recipe.training.workers
        examples = spread_examples(LONGER * mean, optimization.max_tokens)
        assert passes_a_step(examples, optimization, ranks) < 1.15
        tight = optimization.batch_size * mean / ranks / 0.78
        assert passes_a_step(examples, optimization.model_copy(update={"micro_batch_tokens": int(tight)}), ranks) > 1.15


@each_on_gpus
def test_a_round_of_proposals_keeps_every_replica_busy(path: Path):
    """Of those that are started for it: as many as the round fills, within the recipe's bounds."""
    recipe = load_recipe(path)
    prompts, inference = recipe.prompts, recipe.inference
    replicas = pool_size(inference, prompts.requests_per_round * prompts.sampling.max_tokens)
    at_once = requests_at_once(recipe, DEMONSTRATIONS + prompts.sampling.max_tokens)
    assert prompts.requests_per_round / replicas >= BUSY * at_once


@each_on_gpus
def test_most_prompts_are_proposed_after_others_were_kept(path: Path):
    """Two of the eight demonstrations are new prompts (section 2.2); a first round has none to show."""
    prompts = load_recipe(path).prompts
    assert prompts.requests_per_round <= prompts.count / 4


@each_on_gpus
def test_training_fits_the_gpu(path: Path):
    recipe, machine = load_recipe(path), MACHINES[path.stem]
    tokens = max(longest_pass(recipe.sft, 1), longest_pass(recipe.dpo, 2))
    need = training_bytes(machine.shape, recipe.training.workers, tokens)
    assert recipe.training.gradient_checkpointing
    assert need < 0.9 * machine.training_gb * GB
    # What the comment says it comes to.
    (stated,) = re.findall(r"in all +([\d.]+)", path.read_text(encoding="utf-8"))
    assert float(stated) == pytest.approx(need / GB, abs=0.1)


@each_on_gpus
def test_sampling_fits_the_gpus_of_a_replica(path: Path):
    recipe, machine = load_recipe(path), MACHINES[path.stem]
    inference = recipe.inference
    fitting = kv_tokens(machine.shape, inference.gpus_per_replica, machine.inference_gb)
    assert inference.tokens_in_flight <= fitting
    # The longest request of each kind fits in the context: a reply, a verdict on the longest reply, a proposal.
    longest_prompt = 1024
    replies = recipe.respond.sampling.max_tokens
    context = inference.engine["max_model_len"]
    assert longest_prompt + 400 + replies + recipe.judge.sampling.max_tokens <= context
    assert max(recipe.sft.max_tokens, recipe.dpo.max_tokens) <= context
    # Replies at their longest: neither the gate nor the engine holds back much of what the other would let through.
    gate = inference.tokens_in_flight / (60 + replies)
    assert 0.8 <= gate / inference.engine["max_num_seqs"] <= 1.25


@each_on_gpus
def test_a_node_has_the_cpus_that_its_share_of_the_recipe_asks_for(path: Path):
    recipe, machine = load_recipe(path), MACHINES[path.stem]
    replicas = machine.gpus // recipe.inference.gpus_per_replica
    workers = min(recipe.training.workers, machine.gpus)
    assert replicas * recipe.inference.cpus_per_replica + 1 <= machine.cpus  # one CPU feeds the pool
    assert workers * recipe.training.cpus_per_worker <= machine.cpus
