from dataclasses import replace
from math import log

import pytest
import torch

from selfreward_ray.recipe import Dpo
from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.training.objectives import DpoObjective, SftObjective, learning_rate

PAIR = PairTokens("p", (1,), chosen_ids=(2, 3), rejected_ids=(4,))
OTHER = PairTokens("q", (1,), chosen_ids=(2,), rejected_ids=(4,))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, requires_grad=True)


def test_the_dpo_loss_by_hand():
    """β = 0.5. Chosen: −1 − 2 = −3 against −4 is +1, rewarded 0.5. Rejected: −5 against −3 is −2, rewarded −1.

    −ln σ(0.5 − (−1)) = ln(1 + e^−1.5) = ln 1.2231302 = 0.2014133.
    """
    logprobs = {"p/chosen": tensor(-1.0, -2.0), "p/rejected": tensor(-5.0)}
    loss, metrics = DpoObjective(Dpo(beta=0.5)).loss((PAIR,), logprobs, {"p/chosen": -4.0, "p/rejected": -3.0})
    assert loss.item() == pytest.approx(0.2014133, abs=1e-6)
    assert metrics == pytest.approx(
        {
            "preference_loss": 0.2014133,
            "chosen_nll": 1.5,
            "accuracy": 1.0,
            "chosen_reward": 0.5,
            "rejected_reward": -1.0,
        },
        abs=1e-6,
    )


def test_the_dpo_gradient_by_hand():
    """dL/d(chosen token) = −β·σ(−1.5) = −0.5 · 0.1824255 = −0.0912128; of a rejected token its opposite."""
    logprobs = {"p/chosen": tensor(-1.0, -2.0), "p/rejected": tensor(-5.0)}
    loss, _ = DpoObjective(Dpo(beta=0.5)).loss((PAIR,), logprobs, {"p/chosen": -4.0, "p/rejected": -3.0})
    loss.backward()
    assert logprobs["p/chosen"].grad.tolist() == pytest.approx([-0.0912128] * 2, abs=1e-6)
    assert logprobs["p/rejected"].grad.tolist() == pytest.approx([0.0912128], abs=1e-6)


@pytest.mark.parametrize("beta", [0.1, 5.0])
def test_the_loss_of_the_untouched_model_is_ln_2_a_pair(beta: float):
    logprobs = {"p/chosen": tensor(-1.0, -2.0), "p/rejected": tensor(-5.0)}
    logprobs |= {"q/chosen": tensor(-0.5), "q/rejected": tensor(-0.25)}
    reference = {name: values.sum().item() for name, values in logprobs.items()}
    objective = DpoObjective(Dpo(beta=beta))
    loss, metrics = objective.loss((PAIR, OTHER), logprobs, reference)
    assert loss.item() == pytest.approx(2 * log(2), abs=1e-6)
    assert (metrics["accuracy"], objective.weight(PAIR)) == (0.0, 1.0)


def test_the_nll_term_is_the_chosen_replys_a_token():
    """The loss at equality, ln 2, and 0.2 times (1 + 2)/2."""
    logprobs = {"p/chosen": tensor(-1.0, -2.0), "p/rejected": tensor(-5.0)}
    objective = DpoObjective(Dpo(beta=0.1, nll_weight=0.2))
    loss, metrics = objective.loss((PAIR,), logprobs, {"p/chosen": -3.0, "p/rejected": -5.0})
    assert loss.item() == pytest.approx(log(2) + 0.2 * 1.5, abs=1e-6)
    assert metrics["preference_loss"] == pytest.approx(log(2), abs=1e-6)


def test_a_wrongly_ranked_pair_costs_more_than_ln_2():
    """Margin 0.1·(−1 − 1) = −0.2: ln(1 + e^0.2) = 0.7981389."""
    logprobs = {"p/chosen": tensor(-1.0, -1.0), "p/rejected": tensor(-1.0)}
    loss, metrics = DpoObjective(Dpo(beta=0.1)).loss((PAIR,), logprobs, {"p/chosen": -1.0, "p/rejected": -2.0})
    assert loss.item() == pytest.approx(0.7981389, abs=1e-6)
    assert metrics["accuracy"] == 0.0


def test_the_loss_of_a_softened_pair_by_hand():
    """β·margin = 1.5 as above, ε = 0.2: 0.8 · ln(1 + e^−1.5) + 0.2 · ln(1 + e^1.5).

    That is 0.8 · 0.2014133 + 0.2 · 1.7014133 = 0.5014133; beside it the unsoftened pair's ln 2 at margin 0.
    """
    logprobs = {"p/chosen": tensor(-1.0, -2.0), "p/rejected": tensor(-5.0)}
    logprobs |= {"q/chosen": tensor(-1.0), "q/rejected": tensor(-1.0)}
    reference = {"p/chosen": -4.0, "p/rejected": -3.0, "q/chosen": -1.0, "q/rejected": -1.0}
    softened = replace(PAIR, label_smoothing=0.2)
    loss, metrics = DpoObjective(Dpo(beta=0.5)).loss((softened, OTHER), logprobs, reference)
    assert loss.item() == pytest.approx(0.5014133 + log(2), abs=1e-6)
    assert metrics["preference_loss"] == pytest.approx(loss.item())


def test_a_softened_pair_pushes_less_and_back_beyond_its_own_confidence():
    """dL/d(chosen token) = −β·(σ(−h) − ε): with ε = 0.2 and σ(−1.5) = 0.1824255, +0.5 · 0.0175745."""
    logprobs = {"p/chosen": tensor(-1.0, -2.0), "p/rejected": tensor(-5.0)}
    softened = replace(PAIR, label_smoothing=0.2)
    loss, _ = DpoObjective(Dpo(beta=0.5)).loss((softened,), logprobs, {"p/chosen": -4.0, "p/rejected": -3.0})
    loss.backward()
    assert logprobs["p/chosen"].grad.tolist() == pytest.approx([0.0087873] * 2, abs=1e-6)
    assert logprobs["p/rejected"].grad.tolist() == pytest.approx([-0.0087873], abs=1e-6)


def test_the_sft_loss_is_summed_over_tokens_and_weighed_by_them():
    """(0.5 + 1.5) + 3 = 5 over 2 + 1 tokens."""
    rows = (SftTokens("a", (1,), (2, 3)), SftTokens("b", (1,), (2,)))
    logprobs = {"a/target": tensor(-0.5, -1.5), "b/target": tensor(-3.0)}
    loss, metrics = SftObjective().loss(rows, logprobs, {})
    assert (loss.item(), metrics) == (5.0, {})
    assert [SftObjective().weight(row) for row in rows] == [2, 1]


@pytest.mark.parametrize(
    ("schedule", "step", "rate"),
    [
        ("cosine", 0, 1.0),
        ("cosine", 5, 0.55),  # the middle: (1 + 0.1)/2
        ("cosine", 10, 0.1),
        ("linear", 0, 1.0),
        ("linear", 5, 0.55),
        ("linear", 9, 0.19),  # 1 − 0.9 · 9/10
        ("linear", 10, 0.1),
    ],
)
def test_the_rate_falls_from_the_first_to_the_final(schedule: str, step: int, rate: float):
    """Eleven steps from 1 to 0.1."""
    assert learning_rate(step, 11, schedule, 1.0, 0.1, warmup=0) == pytest.approx(rate)


def test_the_cosine_by_hand():
    """A third of the way: fall (1 − cos 60°)/2 = 1/4, so 1 − 0.8/4."""
    assert learning_rate(1, 4, "cosine", 1.0, 0.2, warmup=0) == pytest.approx(0.8)


def test_warm_up_climbs_to_the_first_rate_and_the_fall_takes_the_rest():
    """Three steps of warm-up are quarters of the rate; the fourth step has it whole, the last has the final one."""
    rates = [learning_rate(step, 6, "linear", 1.0, 0.5, warmup=3) for step in range(6)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.75, 0.5])


@pytest.mark.parametrize(("steps", "warmup", "rates"), [(1, 0, [1.0]), (1, 3, [0.25]), (2, 1, [0.5, 1.0])])
def test_a_run_as_short_as_its_warm_up_has_rates_all_the_same(steps: int, warmup: int, rates: list[float]):
    assert [learning_rate(s, steps, "cosine", 1.0, 0.1, warmup) for s in range(steps)] == pytest.approx(rates)
