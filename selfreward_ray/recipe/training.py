"""The recipe's sections on training: SFT, DPO, adapters, and the workers that train."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from selfreward_ray.recipe.deepspeed import checked
from selfreward_ray.recipe.section import Section, Used, used_fields

MODEL_FIELDS = {"dtype", "dropout", "lora", "router_loss", "thoughts", "select", "select_every"}
"""Fields of `training` that change the trained model. The others only decide where and how fast it is trained."""

PASS_FIELDS = {"micro_batch_tokens"}
"""Fields of `sft` and `dpo` that only decide how the examples of an optimizer step are divided into forward passes."""


class Optimization(Section):
    """Settings that SFT and DPO share. The optimizer is AdamW."""

    learning_rate: PositiveFloat
    """Learning rate at the first step after warm-up."""
    final_learning_rate: PositiveFloat
    """Learning rate at the last step, at most `learning_rate`."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls from `learning_rate` to `final_learning_rate`."""
    warmup_steps: NonNegativeInt = 0
    """Number of optimizer steps over which the learning rate rises linearly to `learning_rate`."""
    epochs: PositiveInt = 1
    """Number of passes over the examples."""
    batch_size: PositiveInt = 16
    """Number of examples (SFT) or pairs (DPO) in an optimizer step, over all workers. The paper uses 16."""
    micro_batch_tokens: PositiveInt = 8192
    """Maximum number of tokens in a forward pass of one worker; tokens that several sequences begin with count once. A
    longer example has a pass of its own. Larger is faster if the GPU's memory allows: on an H100 a 1B model trained
    twice as fast with 32,768 as with 8,192."""
    max_tokens: PositiveInt = 4096
    """Maximum length of an example, or of a prompt with one of its two replies, in tokens. Longer examples are dropped
    with a reason, never truncated."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decoupled weight decay."""
    gradient_clipping: PositiveFloat = 1.0
    """Maximum L2 norm of the gradient over all weights. Larger gradients are scaled down to it."""

    @model_validator(mode="after")
    def _falling_rate(self) -> "Optimization":
        if self.final_learning_rate > self.learning_rate:
            raise ValueError("final_learning_rate must not exceed learning_rate")
        return self


class Sft(Optimization):
    """Supervised fine-tuning, M0 → M1. The loss is on the target's tokens only (section 3.1)."""

    learning_rate: PositiveFloat = 5.5e-6
    """Learning rate at the first step after warm-up. The paper uses 5.5e-6."""
    final_learning_rate: PositiveFloat = 1.1e-6
    """Learning rate at the last step, at most `learning_rate`. The paper uses 1.1e-6."""


class Dpo(Optimization):
    """Direct preference optimization, M(t) → M(t+1), with M(t) as reference (section 2.3)."""

    learning_rate: PositiveFloat = 1e-6
    """Learning rate at the first step after warm-up. The paper uses 1e-6."""
    final_learning_rate: PositiveFloat = 1e-7
    """Learning rate at the last step, at most `learning_rate`. The paper uses 1e-7."""
    loss: Literal["sigmoid", "length-normalized", "ipo"] = "sigmoid"
    """The preference loss. ``sigmoid`` is the paper's, on log-ratios summed over the tokens of a reply.
    ``length-normalized`` and ``ipo`` average the log-ratios over the tokens, which makes their margins much smaller, so
    they need another `beta`."""
    beta: PositiveFloat = 0.1
    """Strength β of the penalty for deviating from the reference model. The paper uses 0.1."""
    nll_weight: float = Field(0.0, ge=0)
    """Weight of the chosen reply's negative log-likelihood per token, which is added to the DPO loss. 0, the paper's
    loss, leaves it out."""
    eft_weight: float = Field(0.0, ge=0)
    """Weight of an EFT example's negative log-likelihood per token, which is added to the loss of each pair, so that
    the model does not forget how to judge. 0, the paper's loss, leaves it out. Above 0 each pair carries one EFT
    example. Their order is drawn by `seed` and starts anew in each iteration."""


class Lora(Section):
    """Low-rank adapters. They replace the training of all weights, and are merged into the model that a step writes."""

    rank: NonNegativeInt = 0
    """Rank r of the adapters. 0 trains all weights without adapters, as the paper does."""
    alpha: PositiveFloat = 32
    """Scaling of the adapters: their product is multiplied by alpha / r."""
    targets: tuple[str, ...] = ()
    """Names of the linear layers, or of the weights of all experts, with an adapter, for example ``q_proj`` or
    ``experts.down_proj``. Empty means all linear layers and experts, but neither the output head nor a router."""


class Training(Section):
    """Ray Train workers, and how DeepSpeed ZeRO-3 shards the model over them."""

    workers: PositiveInt = 2
    """Number of Ray Train workers. Each one is a rank of ZeRO-3."""
    min_workers: PositiveInt | None = None
    """Minimum number of workers with which a training starts, and goes on when others are lost. It has up to `workers`
    again when the cluster has room for them. The examples of an optimizer step do not depend on their number. null
    always waits for all `workers`."""
    cpus_per_worker: PositiveFloat = 1
    """CPUs reserved for each worker."""
    gpus_per_worker: Literal[0, 1] = 0
    """GPUs of each worker: 1, or 0 to train on CPUs."""
    accelerator_type: str | None = None
    """Ray's name of the workers' GPU type, for example ``H100``; null accepts any type."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Data type of weights and activations in the forward and backward pass. The optimizer's weights are float32."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout rate wherever the architecture has dropout; the paper uses 0.1. null keeps the rates of the model's
    configuration."""
    router_loss: float | None = Field(None, ge=0)
    """Mixtures of experts: weight of the loss that keeps their router from sending most tokens to few experts, added to
    the loss of SFT and DPO. null takes the weight of the model's configuration (``router_aux_loss_coef``), where its
    architecture has such a loss; 0 leaves it out."""
    lora: Lora = Lora()
    """Low-rank adapters; off by default."""
    thoughts: Literal["train", "read"] = "train"
    """What SFT and DPO do with the thought before a reply. ``train`` trains on all that the engine generated, thought
    and reply. ``read`` trains on the reply alone: the thought stands before it as generated, the model reads it, and it
    gives no loss and no reward. A reply whose thought has no end is then dropped, as there is nothing to train on."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass instead of storing them. Saves memory, costs time."""
    liger_kernels: bool = False
    """Use Liger's fused kernels for norms, rotary embeddings and gated MLPs. They need GPUs and an architecture that
    Liger supports."""
    offload_optimizer: bool = False
    """Keep the optimizer's state in CPU memory. Saves GPU memory, costs time."""
    offload_parameters: bool = False
    """Keep the model's parameters in CPU memory while they are not in use. Saves GPU memory, costs time."""
    deepspeed: dict[str, Any] = Field({})
    """Further settings of DeepSpeed by their names in its configuration, which replace the defaults, for example
    ``{zero_optimization: {sub_group_size: 50000000}}``. The defaults follow from the size of the model and the kind of
    device. A setting that the loop or another field decides is refused, and so is an unknown one."""
    max_failures: NonNegativeInt = 2
    """How many times the workers are restarted from the newest checkpoint after one of them failed."""
    start_timeout_s: PositiveFloat = 1800
    """Maximum time in seconds that the workers wait for resources, at the start and after each failure. It includes the
    start of nodes by an autoscaler. After it the step fails with Ray's account of what is missing."""
    checkpoint_every: NonNegativeInt = 50
    """Number of optimizer steps between checkpoints. 0 writes none, except when Ray announces that a node will be
    taken away."""
    select: Literal["last", "judged"] = "last"
    """Which model of a DPO training becomes M(t+1). ``last`` is that of the last optimizer step. ``judged`` follows the
    paper: snapshots are compared by their answers to ``seed_data.validation`` prompts, and the training ends at the
    first one that does not win against the one before it, which is chosen. The judge and the method are those of
    ``evaluation.judge`` and ``evaluation.head_to_head``; with ``none`` the method is ``scores``. SFT ignores it."""
    select_every: PositiveInt = 200
    """``judged``: number of optimizer steps between snapshots; the last step gives one too. The paper uses 200."""
    max_skipped_steps: NonNegativeInt = 3
    """Maximum number of consecutive steps that are skipped because their loss or gradient is not finite. One more ends
    the run."""

    @field_validator("deepspeed")
    @classmethod
    def _passed_on(cls, deepspeed: dict[str, Any]) -> dict[str, Any]:
        return checked(deepspeed)

    @model_validator(mode="after")
    def _fewer_at_least(self) -> "Training":
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError("min_workers must not exceed workers")
        return self

    @model_validator(mode="after")
    def _liger_needs_gpus(self) -> "Training":
        if self.liger_kernels and not self.gpus_per_worker:
            raise ValueError("liger_kernels needs gpus_per_worker: Liger's kernels run on GPUs alone")
        return self

    def model_settings(self) -> dict[str, Used]:
        """The fields of `MODEL_FIELDS` for a step's fingerprint, without the choice among snapshots, which is the
        step's own (and which a step of ``select: last`` does not have), and without a router loss that is the
        model's own, so that trainings from before there was the field are still the same."""
        unnamed = {"router_loss"} if self.router_loss is None else set()
        return used_fields(self, include=MODEL_FIELDS - {"select", "select_every"} - unnamed)
