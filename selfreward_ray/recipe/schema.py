"""The recipe: all settings of a run, typed and validated. Defaults are the paper's values where it gives them.

Section numbers are those of Yuan et al., 2024 (arXiv 2401.10020). A field's docstring is its entry in the reference.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from selfreward_ray.credentials import secrets_in
from selfreward_ray.recipe.alarms import Alarms
from selfreward_ray.recipe.endpoint import Endpoint
from selfreward_ray.recipe.engine import check_engine, sampling_settings
from selfreward_ray.recipe.pairs import Pairs
from selfreward_ray.recipe.section import Section, used
from selfreward_ray.recipe.seed_data import RowReading, SeedData
from selfreward_ray.recipe.training import Dpo, Sft, Training

ENDING_TOKENS = 16
"""Tokens of a constrained verdict that are reserved for its ending."""

CREDENTIAL = "credential"
"""Type of the validation error for a value that is one. Its input is left out."""

PromptFilter = Literal["length", "capability", "program", "punctuation", "english", "similar"]
"""Names of filters for proposed prompts. Self-Instruct has all of them."""
FILTER_PRESETS: dict[str, tuple[str, ...]] = {
    "self-instruct": get_args(PromptFilter),
    "minimal": ("length", "similar"),
}


class Sampling(Section):
    """Sampling parameters of the engine. The defaults are the paper's for replies and verdicts (section 3.1)."""

    temperature: float = Field(0.7, ge=0)
    """Sampling temperature. 0 is greedy decoding; the paper uses 0.7 for replies and verdicts."""
    top_p: float = Field(0.9, gt=0, le=1)
    """Nucleus sampling: tokens are drawn from the smallest set with this total probability. The paper uses 0.9."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Tokens less probable than this fraction of the most probable token are never drawn. 0 turns it off."""
    max_tokens: PositiveInt = 1024
    """Maximum number of generated tokens. A reply that reaches it is unfinished and cannot become the chosen one."""
    seeded: bool = False
    """Derive the seed of each request from the row's id, which makes sampling repeatable. On GPUs vLLM samples seeded
    requests one by one, which is slower."""


class ProposalSampling(Sampling):
    """Sampling parameters for new prompts (section 3.1). Seeded by default, so that a recipe gives the same prompts."""

    temperature: float = Field(0.6, ge=0)
    """Sampling temperature. 0 is greedy decoding; the paper uses 0.6 for new prompts."""
    max_tokens: PositiveInt = 256
    """Maximum number of generated tokens. A proposal that reaches it is refused."""
    seeded: bool = True
    """Derive the seed of each request from the row's id, so that the same recipe proposes the same prompts."""


class VerdictSampling(Sampling):
    """Sampling parameters for verdicts: reasons of about a hundred words, then the score."""

    max_tokens: PositiveInt = 512
    """Maximum number of generated tokens. A verdict that reaches it has no readable score."""


class Prompts(RowReading):
    """Where the new prompts of an iteration come from (section 2.2, step 1)."""

    source: str = "model"
    """``model`` lets a model propose prompts by few-shot prompting. Otherwise the prompts of a file, a folder or a URI,
    or of a hub data set, in any format of seed data or as prompts alone; or the name of an installed source
    (``demo``)."""
    split: str = "train"
    """The split of `source` that is read, as ``seed_data.split``."""
    count: PositiveInt = 5000
    """Number of new prompts in each iteration."""
    thinking: bool | None = None
    """Whether the proposer thinks before it proposes a prompt, as `respond.thinking`."""
    proposer: str | None = None
    """The model that proposes prompts, by folder, hub name or URI; null is M0. The paper uses one fixed chat model for
    all iterations. M1 of the run itself may propose; M2 and later models may not, because they are trained on these
    prompts."""
    seed_demonstrations: PositiveInt = 6
    """Number of seed prompts among the demonstrations of a proposal request. The paper shows eight demonstrations in
    all."""
    new_demonstrations: NonNegativeInt = 2
    """Number of already accepted new prompts among the demonstrations. There are fewer until so many are accepted."""
    max_requests: PositiveInt | None = None
    """Maximum number of proposal requests in an iteration, rounded up to whole rounds; null is twenty times `count`."""
    requests_per_round: PositiveInt = 64
    """Number of proposal requests in a round. New demonstrations are drawn from the prompts accepted in the rounds
    before."""
    filters: Literal["self-instruct", "minimal"] | tuple[PromptFilter, ...] = "self-instruct"
    """Which proposals are refused: a preset, or a list of filters. ``self-instruct`` has all of them, as in the paper,
    and is made for English. ``minimal`` is ``[length, similar]``, for any language.

    ``length``: fewer than 4 or more than 150 words; in scripts without spaces between words, fewer than 6 or more than
    225 characters. ``capability``: English prompts with one of the words image, graph, picture, file, map, draw, plot
    and "go to", which also refuses the plot of a novel. ``program``: begins with "Write a program". ``punctuation``:
    begins with punctuation. ``english``: begins with a character that is not English. ``similar``: more similar to a
    seed prompt or an accepted prompt than `max_rouge_l`. Proposals that were cut off, are empty, or repeat a prompt
    word for word are always refused."""
    max_rouge_l: float = Field(0.7, gt=0, le=1)
    """``similar``: maximum ROUGE-L F1 of a proposal with any seed prompt or accepted prompt, 0 to 1. More similar
    proposals are refused, as in Self-Instruct. Words are compared, or the characters of scripts without spaces between
    words."""
    sampling: ProposalSampling = ProposalSampling()
    """Sampling parameters for proposals."""

    @field_validator("filters", mode="before")
    @classmethod
    def _known_filters(cls, filters: object) -> object:
        names = get_args(PromptFilter)
        if isinstance(filters, str) and filters in FILTER_PRESETS:
            return filters
        if isinstance(filters, list | tuple) and all(name in names for name in filters):
            return filters
        raise ValueError(f"must be self-instruct, minimal, or a list of {', '.join(names)}")

    @property
    def filter_names(self) -> frozenset[str]:
        """The names of the filters that apply."""
        return frozenset(FILTER_PRESETS[self.filters] if isinstance(self.filters, str) else self.filters)

    @property
    def most_rounds(self) -> int:
        """Number of rounds in the budget of one iteration, rounded up: the size of a round must not depend on the
        budget, which may be raised later."""
        return -(-(self.max_requests or 20 * self.count) // self.requests_per_round)

    @property
    def budget(self) -> int:
        """Maximum number of proposal requests in an iteration, in whole rounds."""
        return self.most_rounds * self.requests_per_round


class Respond(Section):
    """Candidate replies to each prompt (section 2.2, step 2)."""

    candidates: PositiveInt = 4
    """Number N of candidates sampled for each prompt. The paper uses 4."""
    thinking: bool | None = None
    """Whether the model thinks before it replies: candidates, answers to held-out prompts and to questions of
    benchmarks. It is turned on or off by the variable ``enable_thinking`` or ``thinking`` of the model's chat template;
    a template without one is refused. null leaves the template's default. The thought is not the reply: the reply alone
    is judged, compared and exported. SFT encodes IFT examples in the same way. A reply is cut off by
    ``sampling.max_tokens``, which counts the thought too."""
    sampling: Sampling = Sampling()
    """Sampling parameters for candidates."""


class Judge(Section):
    """LLM-as-a-judge: k verdicts on each candidate, whose scores are averaged (section 2.2, step 3)."""

    rubric: str = "additive"
    """The rubric of the judge prompt: the name of a packaged one (`additive`, `checklist`, `json`, `mt-bench`,
    `multiple-choice`, `prometheus`) or the path of a rubric file. `additive` follows the paper's prompt (figure 2)."""
    pairwise_rubric: str = "pairwise"
    """The rubric of `selfreward compare`, which asks which of two replies is better (section 3.1): `pairwise`,
    `mt-bench-pairwise` or the path of a rubric file."""
    verdicts: PositiveInt = 3
    """Number k of verdicts sampled on each candidate. The paper averages 3."""
    min_valid: PositiveInt = 2
    """Minimum number of valid verdicts, those with a readable score, that a candidate needs to take part in pairs."""
    retries: NonNegativeInt = 2
    """How many times a verdict without a readable score is sampled again before it counts as invalid."""
    thinking: bool | None = None
    """Whether the judge thinks before its verdict, as `respond.thinking`. A score in the thought does not count, and a
    verdict that ends inside its thought is invalid. ``judge.sampling.max_tokens`` counts the thought too. An endpoint
    takes only null."""
    constrained: bool = False
    """Constrain decoding, so that every verdict ends with a readable score. The paper does not constrain verdicts.

    The reasons are limited to ``sampling.max_tokens`` characters less a few for the score, or to a quarter of that if
    they contain a character that is not ASCII. Then no verdict is cut off before its score, whatever the tokenizer.
    """
    sampling: VerdictSampling = VerdictSampling()
    """Sampling parameters for verdicts."""

    @model_validator(mode="after")
    def _enough_verdicts(self) -> "Judge":
        if self.min_valid > self.verdicts:
            raise ValueError(f"min_valid is {self.min_valid}, but only {self.verdicts} verdicts are asked for")
        if self.constrained and self.sampling.max_tokens < ENDING_TOKENS:
            raise ValueError(f"constrained needs sampling.max_tokens of at least {ENDING_TOKENS}")
        return self


class Inference(Section):
    """The pool of replicas that sample and judge. Each replica is an actor with one vLLM engine."""

    min_replicas: PositiveInt = 1
    """Minimum number of replicas. A cluster that can never hold them is refused before the first step."""
    max_replicas: PositiveInt = 1
    """Maximum number of replicas. A step starts as many as its rows can keep busy, within the two limits."""
    cpus_per_replica: PositiveFloat = 1
    """CPUs that a replica reserves on each of its nodes."""
    gpus_per_replica: NonNegativeInt = 0
    """GPUs that a replica reserves on each of its nodes, which is its tensor-parallel size. 0 runs the engine on
    CPUs."""
    nodes_per_replica: PositiveInt = 1
    """Number of nodes of a replica, which is its pipeline-parallel size. Above 1 for a model that does not fit on one
    node."""
    accelerator_type: str | None = None
    """Ray's name of the replicas' GPU type, for example ``L40S``; null accepts any type."""
    tokens_in_flight: PositiveInt = 262_144
    """Maximum number of tokens that a replica's engine is asked to process at a time: the prompts, and the replies at
    their maximum length. A good value is what the KV cache holds, or more if most replies end early."""
    rows_per_block: PositiveInt = 8
    """Number of rows that are processed and written together. Written blocks are not repeated when a step is resumed. A
    replica works on at most 256 times as many rows at once."""
    max_restarts: NonNegativeInt = 5
    """Maximum number of consecutive deaths of a replica without a finished row in between. One more ends the step with
    the error of the last death."""
    hang_seconds: PositiveFloat = 300
    """An engine that makes no step for this many seconds while it has requests is killed and restarted."""
    stall_seconds: PositiveFloat = 1800
    """A step fails if its pool makes no progress for this many seconds. Must be longer than the start of an engine and
    than the work on one block. A model that is still being fetched counts as progress."""
    engine: dict[str, Any] = Field({})
    """Further arguments of the vLLM engine, passed on unchanged, for example ``{max_model_len: 4096}``. One that the
    program or another field decides is refused. Those that may change what is sampled, such as ``dtype``,
    ``quantization`` and ``max_model_len``, are a part of what identifies a step, and cannot change in a run; those that
    decide memory, placement and speed alone can."""
    env: dict[str, str] = Field({})
    """Environment variables of the replicas' processes. Secrets are refused, as everywhere in a recipe, because it is
    written to the run's folder."""

    def sampling(self) -> dict[str, Any]:
        """What a step that asks an engine uses of this section, for its fingerprint."""
        return {"inference": used(self.with_engine(sampling_settings(self.engine)), include={"engine"})}

    def with_engine(self, engine: dict[str, Any]) -> "Inference":
        """The section with other arguments of the engine."""
        return self.model_copy(update={"engine": engine})

    @model_validator(mode="after")
    def _ordered(self) -> "Inference":
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas must not exceed max_replicas")
        if self.nodes_per_replica > 1 and not self.gpus_per_replica:
            raise ValueError("nodes_per_replica above 1 needs gpus_per_replica: the GPUs that a stage has on its node")
        if self.nodes_per_replica > 1 and self.min_replicas != self.max_replicas:
            raise ValueError("nodes_per_replica above 1 needs min_replicas = max_replicas: such a pool does not grow")
        return self

    @field_validator("engine")
    @classmethod
    def _of_the_engine_alone(cls, engine: dict[str, Any]) -> dict[str, Any]:
        check_engine(engine)
        return engine


class Evaluation(Section):
    """How models are evaluated: their answers to held-out prompts, and their agreement with the human ranks."""

    scorer: str | None = None
    """Name of an installed program that scores answers to held-out prompts (``demo``; see `extensions`); null for
    none."""
    verdicts: PositiveInt | None = None
    """Number of verdicts on each human-ranked reply, from which the judge's agreement is computed: with the first one
    alone, as in the paper, and with the mean of all. null takes ``judge.verdicts``, as the loop judges; 1 measures the
    first alone and costs least."""
    head_to_head: Literal["scores", "pairwise", "none"] = "scores"
    """How the answers of each model from M2 on are compared with those of the model before it and of M1. ``scores``:
    the judge scores every answer alone, with ``judge.rubric``, and the higher mean of its verdicts wins. ``pairwise``:
    the judge is shown both answers in both orders, with ``judge.pairwise_rubric``, as in the paper; where the orders
    disagree it is a tie. ``none`` compares nothing."""
    judge: str | None = None
    """The judge of `head_to_head`, by folder, hub name or URI. It is the same for the whole run; null is M1 of the run,
    which was taught to score with ``judge.rubric``. The paper uses another model."""


class Tracking(Section):
    """Where the metrics of a run go while it works. JSON lines in ``RUN/metrics`` are always written."""

    trackers: tuple[str, ...] = ("tensorboard",)
    """Names of installed trackers: ``tensorboard`` (in ``RUN/tensorboard``), ``wandb`` and ``mlflow``, which are extras
    of their own and take their servers and keys from the environment, or another one (see `extensions`)."""
    project: str = "selfreward-ray"
    """The project of Weights & Biases, the experiment of MLflow."""


class Recipe(Section):
    """All settings of a run: M0 → M1 by SFT, then `iterations` rounds of self-rewarded DPO."""

    name: str = "self-rewarding"
    """Name of the run, shown in its report."""
    seed: int = 0
    """Random seed of the run, for the division of seed data, the order of training examples, dropout and sampling."""
    model: str
    """The base model M0: a local folder, a hub name, or the object-store URI of a folder in Hugging Face format."""
    iterations: int = Field(2, ge=0, le=1000)
    """Number of DPO iterations after SFT. 2 ends with M3, as in the paper; 0 ends with M1."""
    seed_data: SeedData = SeedData()
    """The human-ranked conversations."""
    prompts: Prompts = Prompts()
    """The new prompts of each iteration."""
    respond: Respond = Respond()
    """Sampling of candidates."""
    judge: Judge = Judge()
    """Judging of candidates."""
    pairs: Pairs = Pairs()
    """Choice of preference pairs."""
    sft: Sft = Sft()
    """Supervised fine-tuning."""
    dpo: Dpo = Dpo()
    """Preference training."""
    training: Training = Training()
    """Training workers and memory."""
    inference: Inference = Inference()
    """Inference replicas and engines."""
    endpoint: Endpoint = Endpoint()
    """Use of an OpenAI-compatible endpoint that judges in the place of a model."""
    evaluation: Evaluation = Evaluation()
    """Evaluation of the models."""
    tracking: Tracking = Tracking()
    """Metrics of the run while it works."""
    alarms: Alarms = Alarms()
    """When the run warns, stops, or goes back to an earlier model."""

    def seed_sizes(self) -> SeedData:
        """`seed_data`, with no prompts for validation unless a checkpoint is chosen by them."""
        if self.training.select == "judged":
            return self.seed_data
        return self.seed_data.model_copy(update={"validation": 0})

    @model_validator(mode="before")
    @classmethod
    def _without_secrets(cls, values: Any) -> Any:
        """The recipe is written to the run's folder, told to trackers and shown. Looked for before anything else, since
        messages about a field show its value."""
        if isinstance(values, Mapping):
            plain = {k: v.model_dump() if isinstance(v, BaseModel) else v for k, v in values.items()}
            if found := list(secrets_in(plain)):
                raise ValidationError.from_exception_data("secrets", [_secret(place, str(why)) for place, why in found])
        return values

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


def _secret(place: tuple[str | int, ...], why: str) -> InitErrorDetails:
    return {"type": PydanticCustomError(CREDENTIAL, "{why}", {"why": why}), "loc": place, "input": None}
