"""The router loss of packed sequences against what transformers computes for each alone."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from architectures import TRAINED
from transformers import AutoConfig, AutoModelForCausalLM

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.training import Training
from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.training.batches import Batch, MicroBatch
from selfreward_ray.training.objectives import SftObjective
from selfreward_ray.training.packing import pack
from selfreward_ray.training.policy import Policy, by_sequence, router_by_sequence
from selfreward_ray.training.router import router_weight

EXAMPLES = (
    SftTokens("one", (5, 9, 11, 30), (7, 8, 300)),
    PairTokens("two", tuple(range(20, 31)), (12, 1, 40, 2), (7, 9)),
    SftTokens("three", (5,), (7,)),
    SftTokens("four", (5, 9, 11, 30, 7), (8, 301)),
    SftTokens("five", tuple(range(20, 26)), (7, 9)),
)
SEQUENCES = [sequence for example in EXAMPLES for sequence in example.sequences()]
ROUTED = [a for a in TRAINED if a.balances and not a.routes_at_random]
routed = pytest.mark.parametrize("architecture", ROUTED, ids=lambda architecture: architecture.name)


def model_of(architecture: Any, **more: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture.type, **architecture.settings(), **more)
    return AutoModelForCausalLM.from_config(config).train()


def alone(model: Any) -> list[torch.Tensor]:
    """transformers' loss of each sequence."""
    ids = [torch.tensor([[*s.prompt_ids, *s.target_ids]]) for s in SEQUENCES]
    return [model(input_ids=one, output_router_logits=True).aux_loss for one in ids]


@routed
@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_and_gradients_are_those_of_each_sequence_alone(architecture: Any, checkpointing: bool):
    """Of a sum that weighs each sequence differently, so that one in another's place would show."""
    model = model_of(architecture)
    weights = torch.arange(1.0, len(SEQUENCES) + 1)
    expected = torch.stack(alone(model))
    (expected * weights).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy = Policy(model, max_tokens=32, routes=True).train()
    packed = pack(EXAMPLES)
    found = router_by_sequence(packed, policy(packed))
    losses = torch.stack([found[sequence.id] for sequence in SEQUENCES])
    assert len(packed.token_ids) < sum(segment.keys for segment in packed.segments) - 20
    torch.testing.assert_close(losses, expected, atol=1e-5, rtol=0)
    assert losses.std() > 1e-3
    (losses * weights).sum().backward()
    routers = [name for name in gradients if "gate.weight" in name or "router" in name]
    assert routers
    for name, gradient in gradients.items():
        other = dict(policy.model.named_parameters())[name].grad
        torch.testing.assert_close(other, gradient, atol=1e-5 * (1 + float(gradient.abs().max())), rtol=0, msg=name)
    assert min(float(gradients[name].abs().max()) for name in routers) > 1e-4


@routed
def test_log_probs_are_the_same_with_and_without_it(architecture: Any):
    model = model_of(architecture)
    packed = pack(EXAMPLES)
    policy = Policy(model, max_tokens=32, routes=True)
    with torch.no_grad():
        routing, reading = policy.train()(packed), policy.eval()(packed)
    assert len(routing) == len(reading) + len(SEQUENCES)
    assert router_by_sequence(packed, reading) == {}
    said, read = by_sequence(packed, routing), by_sequence(packed, reading)
    assert all(torch.equal(said[name], read[name]) for name in read)


class Engine:
    """DeepSpeed's engine around a policy, which remembers the losses that it is given."""

    device = "cpu"

    def __init__(self, policy: Policy):
        self.module = policy
        self.losses: list[float] = []

    def __call__(self, packed: Any) -> torch.Tensor:
        return self.module(packed)

    def set_gradient_accumulation_boundary(self, is_last: bool) -> None: ...

    def backward(self, loss: torch.Tensor, *, scale_wrt_gas: bool) -> None:
        self.losses.append(loss.item())

    def step(self) -> None: ...


@pytest.mark.engines
@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize(("wanted", "weight"), [(None, 0.25), (0.5, 0.5), (0.0, 0.0)])
def test_a_step_trains_the_loss_by_its_weight_and_each_example_by_its_own(wanted: float | None, weight: float):
    """Of two examples with 3 and 1 target tokens, in two passes: (3 · first + 1 · second) / 4."""
    from selfreward_ray.training.step import take_step

    examples = (EXAMPLES[0], EXAMPLES[2])
    model = model_of(ROUTED[0], router_aux_loss_coef=0.25)
    first, _, _, second, *_ = (loss.item() for loss in alone(model))
    engine = Engine(Policy(model, max_tokens=32, routes=weight > 0))
    micros = tuple(MicroBatch((example,)) for example in examples)
    job: Any = SimpleNamespace(objective=SftObjective(), training=Training(router_loss=wanted))
    said = take_step(engine, Batch((micros,)), micros, {}, job)
    packed = pack(examples)
    logprobs = by_sequence(packed, engine(packed))
    nll = [-logprobs[s.id].sum().item() for e in examples for s in e.sequences()]
    expected = [(nll[0] + weight * 3 * first) / 4, (nll[1] + weight * second) / 4]
    assert engine.losses == pytest.approx(expected, abs=1e-5)
    assert said["loss"] == pytest.approx(sum(expected), abs=1e-5)
    assert said.get("router_loss") == (pytest.approx((3 * first + second) / 4, abs=1e-5) if weight else None)


@pytest.mark.parametrize(("wanted", "weight"), [(None, 0.02), (0.5, 0.5), (0.0, 0.0)])
def test_the_weight_is_the_models_own_unless_the_recipe_has_one(wanted: float | None, weight: float):
    config = AutoConfig.for_model("mixtral", router_aux_loss_coef=0.02)
    assert router_weight(config, wanted) == weight


@pytest.mark.parametrize("kind", ["llama", "deepseek_v3"])
def test_an_architecture_without_the_loss_takes_no_weight_but_zero(kind: str):
    config = AutoConfig.for_model(kind)
    assert router_weight(config, None) == router_weight(config, 0.0) == 0
    with pytest.raises(UserError, match=f"router_loss is 0.1, but models of type '{kind}' have no router loss"):
        router_weight(config, 0.1)


def test_a_mixture_whose_routers_cannot_be_heard_is_refused():
    model = model_of(ROUTED[0])
    model.base_model._can_record_outputs = {}
    with pytest.raises(UserError, match="the router loss of models of type 'qwen3_moe' is not known here"):
        Policy(model, max_tokens=32, routes=True)
