"""Recipe: every knob of a run, typed and validated. The defaults are the paper's figures."""

import re
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from selfreward_ray.errors import UserError

ENDING_TOKENS = 16
"""Tokens that a constrained verdict keeps for its ending."""

MODEL_FIELDS = {"dtype", "dropout", "lora"}
"""Fields of `training` that a model depends on; the others only say where and how fast it is trained."""

PASS_FIELDS = {"micro_batch_tokens"}
"""Fields of `sft` and `dpo` that only say how a step's examples are divided into passes."""


class _Section(BaseModel):
    # Defaults are validated too: a 5 that stays an integer is another fingerprint than the 5.0 of a file read back.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class Sampling(_Section):
    """How the engine samples; the defaults are the paper's for replies and verdicts (section 3.1.1)."""

    temperature: float = Field(0.7, ge=0)
    """0 decodes greedily."""
    top_p: float = Field(0.9, gt=0, le=1)
    """Nucleus sampling: only the likeliest tokens that together have this probability. It is slow on CPUs."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Leave out tokens less likely than this share of the likeliest one; 0 leaves out none."""
    max_tokens: PositiveInt = 1024
    """Most tokens of one output. A reply that is cut off by it may not be chosen."""
    seeded: bool = False
    """Derive the engine's seed from the row's id. Repeatable, but on GPUs vLLM samples such rows one by one."""


class ProposalSampling(Sampling):
    """For new prompts (section 3.1.1). Seeded, so that a recipe gives the same prompts again."""

    temperature: float = Field(0.6, ge=0)
    max_tokens: PositiveInt = 256
    seeded: bool = True


class VerdictSampling(Sampling):
    """For verdicts: reasons of about a hundred words, then the score."""

    max_tokens: PositiveInt = 512


class Seed(_Section):
    """Ranked conversations → IFT and EFT rows (section 2.1), and the held-out sets."""

    source: str | None = None
    """A file or folder of JSONL or Parquet, by path or URI, a hub data set (``OpenAssistant/oasst1``), or an installed
    source by its name (``demo``, the offline demo world; see `extensions`). What the rows are is read from their
    fields, see `seed.readers`. Needed wherever seed data is read."""
    split: str = "train"
    """The split of a hub data set."""
    language: str | None = "en"
    """Messages that trees mark as another language are left out; None takes all. What has no mark is taken."""
    turns: Literal["first", "any"] = "first"
    """Prompts that open a conversation (the paper's), or prompts with what was said before them too."""
    minimum_rank: NonNegativeInt = 0
    """An IFT reply is ranked at least this well; 0 takes only what people put first. A reply that is left out
    keeps its place: where the first is synthetic, the next has rank 1."""
    synthetic: bool = False
    """Take messages that trees mark as written by a model."""
    deleted: bool = False
    """Take messages that trees mark as deleted."""
    max_characters: PositiveInt = 32_768
    """A longer message is dropped with a reason."""
    ift: NonNegativeInt = 3200
    """IFT rows: the best-ranked reply to each of as many prompts."""
    eft: NonNegativeInt = 1630
    """EFT rows. At most as many sets are judged for them: that is enough where one in three agrees."""
    held_out: NonNegativeInt = 190
    """Ranked sets kept for evaluation, disjoint from both (541 verdicts in the paper, 2.85 a set)."""
    held_out_groups: tuple[Literal["topics", "words", "dev"], ...] = ("topics",)
    """demo: which sets are held out, `held_out` prompts in each. ``topics`` has unseen topics; ``words`` unseen words
    and combinations of rules too; ``dev`` other unseen topics, to choose a recipe by."""
    verdicts: str = "baseline"
    """Who writes the EFT verdicts: ``baseline`` (M0 after SFT on the IFT rows alone, as in the paper), ``written``
    (they stand in the source), or another model, by folder, hub name or URI."""
    verdict_samples: PositiveInt = 3
    """Verdicts asked for each ranked reply."""
    commonest_share: float = Field(0.5, gt=0, lt=1)
    """The commonest score is thinned to this share of the EFT rows (4 in the paper, which gives no figure)."""

    def named(self) -> str:
        """`source`. Raises `UserError` where the recipe names none."""
        if self.source is None:
            raise UserError(
                "seed_data.source is not set: name your ranked conversations (a file, a folder, a URI or a hub data "
                "set), or demo for the demo world"
            )
        return self.source


class Prompts(_Section):
    """Where an iteration's new prompts come from (section 2.2, step 1)."""

    source: str = "model"
    """``model`` (8-shot prompting), the URI of a JSONL file of ``{"prompt"}``, or the name of an installed source
    (``demo``)."""
    count: PositiveInt = 5000
    """New prompts in each iteration."""
    proposer: str | None = None
    """The model that proposes; the paper keeps one fixed chat model. None: M0."""
    seed_demonstrations: PositiveInt = 6
    """Prompts of IFT rows that are shown as examples with each request for a new prompt."""
    new_demonstrations: NonNegativeInt = 2
    """Prompts kept in earlier rounds that are shown beside them."""
    max_requests: PositiveInt | None = None
    """Budget of proposals, spent in whole rounds; None is twenty times `count`."""
    requests_per_round: PositiveInt = 64
    """Proposals between two looks at what was kept, from which the next demonstrations are drawn."""
    max_rouge_l: float = Field(0.7, gt=0, le=1)
    """A proposal with a greater ROUGE-L F-measure against any seed prompt or kept prompt is dropped."""
    sampling: ProposalSampling = ProposalSampling()


class Respond(_Section):
    """N candidates a prompt (section 2.2, step 2)."""

    candidates: PositiveInt = 4
    """Replies sampled for each prompt: N."""
    sampling: Sampling = Sampling()


class Judge(_Section):
    """k verdicts a candidate, averaged (section 2.2, step 3)."""

    rubric: str = "additive"
    """A rubric of the package (`additive`, `checklist`, `multiple-choice`) or the path of a rubric file."""
    pairwise_rubric: str = "pairwise"
    """The rubric by which `selfreward compare` asks which of two replies is better (section 3.1)."""
    verdicts: PositiveInt = 3
    """Verdicts sampled for each reply: k. The mean of their scores ranks the reply."""
    min_valid: PositiveInt = 2
    """A reply with fewer readable verdicts takes no part in pairs."""
    retries: NonNegativeInt = 2
    """How often an unreadable verdict is asked for again before it counts as invalid."""
    constrained: bool = False
    """Constrain decoding so that every verdict ends in a readable score. The paper lets the model write freely.

    The reasons have at most as many characters as ``sampling.max_tokens``, less a few for the score, and a quarter of
    that where one is not ASCII: whatever the tokenizer, no verdict is cut off before its score.
    """
    sampling: VerdictSampling = VerdictSampling()

    @model_validator(mode="after")
    def _enough_verdicts(self) -> "Judge":
        if self.min_valid > self.verdicts:
            raise ValueError(f"min_valid is {self.min_valid}, but only {self.verdicts} verdicts are asked for")
        if self.constrained and self.sampling.max_tokens < ENDING_TOKENS:
            raise ValueError(f"constrained needs sampling.max_tokens of at least {ENDING_TOKENS}")
        return self


class Pairs(_Section):
    """Preference pairs from judged candidates (section 2.3)."""

    policy: Literal["best-worst", "positive-only", "length-controlled", "all-pairs", "preference-strength"] = (
        "best-worst"
    )
    """How pairs, or examples, are made of the judged replies to a prompt."""
    constant_share: float = Field(0.02, gt=0, le=1)
    """A text that answers more than this share of all prompts, and at least five, may not be chosen."""
    positive_mean: float = 5
    """positive-only: the least mean score of a reply that is trained on; 5 is the best of the packaged rubrics."""
    band: float = Field(0.2, ge=0, lt=0.5)
    """length-controlled: the share of the range of means, from either end, in which length decides."""
    margin: float = Field(1.0, gt=0)
    """all-pairs: the least difference of two means, in points of the rubric."""
    min_confidence: float = Field(0.75, ge=0.5, le=1)
    """preference-strength: a pair that the verdicts support less surely than this is weak."""
    weak: Literal["drop", "soften"] = "drop"
    """preference-strength: what becomes of a weak pair; a softened one is trained with a smoothed label."""


class Optimization(_Section):
    """What SFT and DPO share. Rates fall from `learning_rate` to `final_learning_rate`."""

    learning_rate: PositiveFloat
    """Highest learning rate of AdamW, reached after the warm-up."""
    final_learning_rate: PositiveFloat
    """Learning rate at the last step."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the rate falls between the two."""
    warmup_steps: NonNegativeInt = 0
    """Optimizer steps in which the rate rises from 0 to `learning_rate`."""
    epochs: PositiveInt = 1
    """Passes over the examples."""
    batch_size: PositiveInt = 16
    """Examples (SFT) or pairs (DPO) an optimizer step, over all ranks."""
    micro_batch_tokens: PositiveInt = 8192
    """Tokens in one forward pass of one rank, a pair's prompt counted once. A longer example has a pass of its own.
    A GPU with room for it wants more: of a model of 1B, 32,768 trained twice as fast as 8,192 on an H100."""
    max_tokens: PositiveInt = 4096
    """A longer example is dropped with a reason, never cut."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay of AdamW."""
    gradient_clipping: PositiveFloat = 1.0
    """Largest norm of the gradient; a longer one is scaled down to it."""

    @model_validator(mode="after")
    def _falling_rate(self) -> "Optimization":
        if self.final_learning_rate > self.learning_rate:
            raise ValueError("final_learning_rate must not exceed learning_rate")
        return self


class Sft(Optimization):
    """M0 → M1, loss on target tokens only."""

    learning_rate: PositiveFloat = 5.5e-6
    final_learning_rate: PositiveFloat = 1.1e-6


class Dpo(Optimization):
    """M(t) → M(t+1), reference M(t)."""

    learning_rate: PositiveFloat = 1e-6
    final_learning_rate: PositiveFloat = 1e-7
    loss: Literal["sigmoid", "length-normalized", "ipo"] = "sigmoid"
    """The paper's sums log-ratios over a reply's tokens, the other two average them: their margins are far smaller."""
    beta: PositiveFloat = 0.1
    """β: how strongly the policy is held to the reference."""
    nll_weight: float = Field(0.0, ge=0)
    """Weight of the chosen reply's negative log-likelihood a token, added to the DPO loss."""
    eft_weight: float = Field(0.0, ge=0)
    """Weight of an EFT row's negative log-likelihood a token, added to each pair's loss so that the judge holds what it
    was taught; 0 is the paper's. Above it each pair carries a row, the rows going round in an order that `seed`
    decides, from the first one in each iteration."""


class Lora(_Section):
    """Low-rank adapters in place of whole weights; they are merged into the model that a step writes."""

    rank: NonNegativeInt = 0
    """0: none, every weight is trained, as in the paper."""
    alpha: PositiveFloat = 32
    """The adapters' product is scaled by alpha/rank."""
    targets: tuple[str, ...] = ()
    """Names of linear layers (``q_proj``); empty takes all but the output head."""


class Training(_Section):
    """Ray Train workers and how ZeRO-3 spreads the model over them."""

    workers: PositiveInt = 2
    """Ranks of Ray Train, over which ZeRO-3 divides weights, gradients and optimizer states."""
    cpus_per_worker: PositiveFloat = 1
    """CPUs that Ray reserves for a worker."""
    gpus_per_worker: Literal[0, 1] = 0
    """A worker is one rank: it has one GPU, or computes on CPUs."""
    accelerator_type: str | None = None
    """Kind of GPU that a worker asks for, by the name that Ray gives it (``H100``); null takes any."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Precision of the forward and backward pass; master weights and Adam moments are float32."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Rate wherever the architecture has dropout, 0.1 in the paper; None is what the model's configuration says."""
    lora: Lora = Lora()
    gradient_checkpointing: bool = True
    """Compute activations again in the backward pass instead of keeping them: less memory, more time."""
    liger_kernels: bool = False
    """Liger's fused kernels for norms, rotary positions and gated MLPs: GPUs only, and the architectures it knows."""
    offload_optimizer: bool = False
    """Keep optimizer states in CPU memory: less GPU memory, more time."""
    offload_parameters: bool = False
    """Keep parameters in CPU memory too."""
    max_failures: NonNegativeInt = 2
    """How often a group of workers in which one failed is started again, from the newest checkpoint."""
    start_timeout_s: PositiveFloat = 1800
    """How long workers may wait for room on the cluster, nodes that an autoscaler starts for them included, at the
    start and after each failure; then the step ends with what Ray says of it."""
    checkpoint_every: NonNegativeInt = 50
    """Optimizer steps between checkpoints. 0: none but at a notice that a node is about to be taken away."""
    max_skipped_steps: NonNegativeInt = 3
    """Steps in a row that may be skipped because their loss or gradient is not finite; one more ends the run."""

    @model_validator(mode="after")
    def _liger_needs_gpus(self) -> "Training":
        if self.liger_kernels and not self.gpus_per_worker:
            raise ValueError("liger_kernels needs gpus_per_worker: Liger's kernels run on GPUs alone")
        return self


class Inference(_Section):
    """The pool of vLLM replicas. `engine` is passed to vLLM as it is."""

    min_replicas: PositiveInt = 1
    """Fewest replicas of a pool. It has more where its rows fill more, up to `max_replicas`."""
    max_replicas: PositiveInt = 1
    """Most replicas of a pool."""
    cpus_per_replica: PositiveFloat = 1
    """On each of its nodes."""
    gpus_per_replica: NonNegativeInt = 0
    """GPUs a replica holds on a node: its tensor parallel size."""
    nodes_per_replica: PositiveInt = 1
    """Pipeline stages of a replica, each of `gpus_per_replica` GPUs, for a model that no node can hold."""
    accelerator_type: str | None = None
    """Kind of GPU that a replica asks for, by the name that Ray gives it (``L40S``); null takes any."""
    tokens_in_flight: PositiveInt = 262_144
    """Tokens that one replica's engine is asked at a time: prompts, and replies at their longest. About what its KV
    cache holds, or more where replies mostly end early."""
    rows_per_block: PositiveInt = 8
    """Rows that are written, and so saved, together. A replica has at most 256 times as many under way."""
    max_restarts: NonNegativeInt = 5
    """Deaths of a replica in a row, no row finished in between, after which a step ends with the last one's error."""
    hang_seconds: PositiveFloat = 300
    """An engine that makes no step for so long, with requests under way, is killed and started again."""
    stall_seconds: PositiveFloat = 1800
    """A pool in which nothing moves for so long is at an end: longer than an engine's start, and than a block. A model
    that is still being fetched moves."""
    engine: dict[str, Any] = {}
    """Arguments of vLLM's engine, passed on as they are (``max_model_len``, ``dtype``, …)."""
    env: dict[str, str] = {}
    """Environment variables of a replica's process."""

    @model_validator(mode="after")
    def _ordered(self) -> "Inference":
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas must not exceed max_replicas")
        if self.nodes_per_replica > 1 and not self.gpus_per_replica:
            raise ValueError("nodes_per_replica above 1 needs gpus_per_replica: the GPUs that a stage has on its node")
        if self.nodes_per_replica > 1 and self.min_replicas != self.max_replicas:
            raise ValueError("nodes_per_replica above 1 needs min_replicas = max_replicas: such a pool does not grow")
        return self

    @field_validator("env")
    @classmethod
    def _no_secrets(cls, env: dict[str, str]) -> dict[str, str]:
        secret = [name for name in env if re.search("TOKEN|SECRET|PASSWORD|KEY", name.upper())]
        if secret:
            raise ValueError(f"the variable {secret[0]} would stand in the run's files; set it on the nodes instead")
        return env


class Evaluation(_Section):
    """What models are measured by, beside their agreement with the rankings of the held-out sets."""

    scorer: str | None = None
    """An installed program that scores answers to held-out prompts, by its name (``demo``; see `extensions`)."""


class Recipe(_Section):
    """One run: M0 → M1 by SFT, then `iterations` rounds of self-rewarded DPO."""

    name: str = "self-rewarding"
    """Title of the run in its report."""
    seed: int = 0
    """Seed of what is drawn: the division of seed data, the order of examples, dropout, requests that are `seeded`."""
    model: str
    """M0: a local folder, a hub name, or an object-store URI of a Hugging Face folder."""
    iterations: NonNegativeInt = 2
    """Iterations of self-rewarding after M1; the last model is M(`iterations` + 1)."""
    seed_data: Seed = Seed()
    prompts: Prompts = Prompts()
    respond: Respond = Respond()
    judge: Judge = Judge()
    pairs: Pairs = Pairs()
    sft: Sft = Sft()
    dpo: Dpo = Dpo()
    training: Training = Training()
    inference: Inference = Inference()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _judging_rows_to_carry(self) -> "Recipe":
        if self.dpo.eft_weight and not self.seed_data.eft:
            raise ValueError("dpo.eft_weight needs EFT rows, but seed_data.eft is 0")
        return self

    @model_validator(mode="after")
    def _an_example_for_each_worker(self) -> "Recipe":
        for name, batch_size in (("sft", self.sft.batch_size), ("dpo", self.dpo.batch_size)):
            if batch_size < self.training.workers:
                raise ValueError(
                    f"{name}.batch_size {batch_size} is smaller than training.workers {self.training.workers}: some "
                    "workers would never have an example"
                )
        return self
