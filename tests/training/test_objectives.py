from dataclasses import replace
from math import log
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.recipe.training import Dpo
from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.training.objectives import LOSSES, DpoObjective, SftObjective, learning_rate

PAIR = PairTokens("p", (1,), chosen_ids=(2, 3), rejected_ids=(4,))
OTHER = PairTokens("q", (1,), chosen_ids=(2,), rejected_ids=(4,))
UNEVEN = PairTokens("u", (1,), chosen_ids=(2, 3), rejected_ids=(4, 5, 6, 7))

losses = st.sampled_from(sorted(LOSSES))
betas = st.floats(0.05, 5)
smoothings = st.floats(0, 0.5)
replies = st.lists(st.floats(-3, 3), min_size=1, max_size=5)
"""A reply by its tokens' log-ratios."""


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
            "reward_margin": 1.5,
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


def test_the_nll_term_is_the_chosen_replys_a_token():
    """The loss at equality, ln 2, and 0.2 times (1 + 2)/2."""
    logprobs = {"p/chosen": tensor(-1.0, -2.0), "p/rejected": tensor(-5.0)}
    objective = DpoObjective(Dpo(beta=0.1, nll_weight=0.2))
    loss, metrics = objective.loss((PAIR,), logprobs, {"p/chosen": -3.0, "p/rejected": -5.0})
    assert loss.item() == pytest.approx(log(2) + 0.2 * 1.5, abs=1e-6)
    assert metrics["preference_loss"] == pytest.approx(log(2), abs=1e-6)


def test_the_judging_term_is_the_verdicts_a_token_and_no_part_of_the_preference_loss():
    """Two pairs at equality, ln 2 each. Their verdicts cost (1 + 2 + 3)/3 = 2 and 4/1 nats a token: 0.25 · 6 = 1.5.

    Its gradient by a token is −0.25/3 of the first verdict and −0.25 of the second. A pair weighs 1 as ever.
    """
    logprobs = {"p/chosen": tensor(-1.0, -2.0), "p/rejected": tensor(-5.0), "s/eft/target": tensor(-1.0, -2.0, -3.0)}
    logprobs |= {"q/chosen": tensor(-1.0), "q/rejected": tensor(-1.0), "t/eft/target": tensor(-4.0)}
    reference = {"p/chosen": -3.0, "p/rejected": -5.0, "q/chosen": -1.0, "q/rejected": -1.0}
    one = replace(PAIR, eft=SftTokens("s/eft", (9,), (5, 6, 7)))
    other = replace(OTHER, eft=SftTokens("t/eft", (8,), (5,)))
    objective = DpoObjective(Dpo(eft_weight=0.25))
    loss, metrics = objective.loss((one, other), logprobs, reference)
    assert loss.item() == pytest.approx(2 * log(2) + 1.5, abs=1e-6)
    assert metrics["preference_loss"] == pytest.approx(2 * objective.first_loss, abs=1e-6)
    assert metrics["eft_nll"] == pytest.approx(6.0)
    loss.backward()
    assert logprobs["s/eft/target"].grad.tolist() == pytest.approx([-0.25 / 3] * 3)
    assert logprobs["t/eft/target"].grad.tolist() == pytest.approx([-0.25])
    assert objective.weight(one) == 1.0


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


def uneven() -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Chosen: −1 − 2 = −3 against −4, +1 on two tokens. Rejected: −1 − 1 − 2 − 2 = −6 against −4, −2 on four.

    Summed, the margin is 1 − (−2) = 3; averaged, it is 1/2 − (−2/4) = 1.
    """
    logprobs = {"u/chosen": tensor(-1.0, -2.0), "u/rejected": tensor(-1.0, -1.0, -2.0, -2.0)}
    return logprobs, {"u/chosen": -4.0, "u/rejected": -4.0}


@pytest.mark.parametrize(
    ("loss", "smoothing", "expected"),
    [
        ("sigmoid", 0.0, 0.3868713),  # ln(1 + e^−0.75) = ln 1.4723666
        ("sigmoid", 0.2, 0.5368713),  # the loss turned round is greater by 0.75: 0.3868713 + 0.2 · 0.75
        ("length-normalized", 0.0, 0.5759394),  # ln(1 + e^−0.25) = ln 1.7788008
        ("length-normalized", 0.2, 0.6259394),  # 0.5759394 + 0.2 · 0.25
        ("ipo", 0.0, 1.0),  # 1/(2 · 0.25) = 2: (1 − 2)²
        ("ipo", 0.2, 2.6),  # 0.8 · (1 − 2)² + 0.2 · (−1 − 2)² = 0.8 + 1.8
    ],
)
def test_each_loss_by_hand(loss: str, smoothing: float, expected: float):
    """β = 0.25. The rewards are the same for all: 0.25 · 1 and 0.25 · −2."""
    pair = replace(UNEVEN, label_smoothing=smoothing)
    found, metrics = DpoObjective(Dpo(loss=loss, beta=0.25)).loss((pair,), *uneven())
    assert found.item() == pytest.approx(expected, abs=1e-6)
    assert metrics == pytest.approx(
        {
            "preference_loss": expected,
            "chosen_nll": 1.5,
            "accuracy": 1.0,
            "chosen_reward": 0.25,
            "rejected_reward": -0.5,
            "reward_margin": 0.75,
        },
        abs=1e-6,
    )


@pytest.mark.parametrize(
    ("loss", "smoothing", "chosen", "rejected"),
    [
        ("sigmoid", 0.0, -0.0802053, 0.0802053),  # −0.25 · σ(−0.75) = −0.25 · 0.3208213
        ("length-normalized", 0.0, -0.0547279, 0.0273640),  # −0.25 · σ(−0.25) = −0.1094559, over 2 and over 4
        ("ipo", 0.0, -1.0, 0.5),  # 2 · (1 − 2) = −2, over 2 and over 4
        ("ipo", 0.2, -0.2, 0.1),  # the distance asked for is 0.6 · 2: 2 · (1 − 1.2) = −0.4
        ("ipo", 0.4, 0.6, -0.3),  # and here 0.2 · 2, exceeded: 2 · (1 − 0.4) = 1.2
    ],
)
def test_each_losss_gradient_by_hand(loss: str, smoothing: float, chosen: float, rejected: float):
    """Of one token of each reply, β = 0.25; all tokens of a reply have the same."""
    logprobs, reference = uneven()
    pair = replace(UNEVEN, label_smoothing=smoothing)
    DpoObjective(Dpo(loss=loss, beta=0.25)).loss((pair,), logprobs, reference)[0].backward()
    assert logprobs["u/chosen"].grad.tolist() == pytest.approx([chosen] * 2, abs=1e-6)
    assert logprobs["u/rejected"].grad.tolist() == pytest.approx([rejected] * 4, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "beta", "expected"),
    [
        ("sigmoid", 0.1, 0.6931472),
        ("sigmoid", 5.0, 0.6931472),
        ("length-normalized", 5.0, 0.6931472),
        ("ipo", 0.1, 25.0),  # (0 − 1/0.2)²
        ("ipo", 5.0, 0.01),  # (0 − 1/10)²
    ],
)
def test_the_loss_of_the_untouched_model_is_known(loss: str, beta: float, expected: float):
    """Two pairs, one of them softened: at margin 0 a pair and the pair turned round cost the same."""
    logprobs = uneven()[0] | {"q/chosen": tensor(-0.5), "q/rejected": tensor(-0.25)}
    reference = {name: values.sum().item() for name, values in logprobs.items()}
    objective = DpoObjective(Dpo(loss=loss, beta=beta))
    found, metrics = objective.loss((replace(UNEVEN, label_smoothing=0.3), OTHER), logprobs, reference)
    assert found.item() == pytest.approx(2 * expected, rel=1e-6)
    assert objective.first_loss == pytest.approx(expected, rel=1e-6)
    assert (metrics["accuracy"], objective.weight(UNEVEN)) == (0.0, 1.0)


def test_sft_measures_no_preference():
    assert SftObjective().first_loss is None


def test_the_recipe_names_each_loss():
    assert get_args(Dpo.model_fields["loss"].annotation) == tuple(LOSSES)


def preference(
    loss: str, beta: float, chosen: list[float], rejected: list[float], smoothing: float = 0.0
) -> tuple[float, list[float], list[float]]:
    """A pair's loss, and its gradient by each token of the two replies, whose log-ratios are given."""
    pair = PairTokens("h", (1,), (2,) * len(chosen), (3,) * len(rejected), smoothing)
    logprobs = {"h/chosen": tensor(*chosen), "h/rejected": tensor(*rejected)}
    found, _ = DpoObjective(Dpo(loss=loss, beta=beta)).loss((pair,), logprobs, {"h/chosen": 0.0, "h/rejected": 0.0})
    found.backward()
    return found.item(), logprobs["h/chosen"].grad.tolist(), logprobs["h/rejected"].grad.tolist()


@given(losses, betas, replies, replies, smoothings)
def test_a_pair_turned_round_is_its_label_turned_round(
    loss: str, beta: float, chosen: list[float], rejected: list[float], smoothing: float
):
    one, by_chosen, by_rejected = preference(loss, beta, chosen, rejected, smoothing)
    other, by_second, by_first = preference(loss, beta, rejected, chosen, 1 - smoothing)
    assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    assert by_chosen == pytest.approx(by_first, rel=1e-4, abs=1e-4)
    assert by_rejected == pytest.approx(by_second, rel=1e-4, abs=1e-4)


@given(losses, betas, replies, replies)
def test_of_an_even_chance_both_labels_cost_the_same_and_what_is_least_is_no_margin(
    loss: str, beta: float, chosen: list[float], rejected: list[float]
):
    cost, _, _ = preference(loss, beta, chosen, rejected, smoothing=0.5)
    turned, _, _ = preference(loss, beta, rejected, chosen, smoothing=0.5)
    assert cost == pytest.approx(turned, rel=1e-4)
    assert cost >= DpoObjective(Dpo(loss=loss, beta=beta)).first_loss * (1 - 1e-5)


@given(losses, betas, replies, replies)
def test_a_sure_label_lifts_the_chosen_and_sinks_the_rejected_and_ipo_only_so_far(
    loss: str, beta: float, chosen: list[float], rejected: list[float]
):
    _, by_chosen, by_rejected = preference(loss, beta, chosen, rejected)
    margin = sum(chosen) / len(chosen) - sum(rejected) / len(rejected)
    enough = loss == "ipo" and margin > 1 / (2 * beta)
    assert all(g >= -1e-5 if enough else g <= 1e-5 for g in by_chosen)
    assert all(g <= 1e-5 if enough else g >= -1e-5 for g in by_rejected)
    # What one reply's log-ratio gains, as the loss measures it, the other's loses.
    in_all = (by_chosen[0], by_rejected[0]) if loss == "sigmoid" else (sum(by_chosen), sum(by_rejected))
    assert in_all[0] == pytest.approx(-in_all[1], rel=1e-4, abs=1e-5)


@given(st.sampled_from(["length-normalized", "ipo"]), betas, replies, replies, smoothings)
def test_a_reply_said_twice_changes_nothing_where_log_ratios_are_averaged(
    loss: str, beta: float, chosen: list[float], rejected: list[float], smoothing: float
):
    once, by_once, _ = preference(loss, beta, chosen, rejected, smoothing)
    twice, by_twice, _ = preference(loss, beta, chosen * 2, rejected, smoothing)
    assert once == pytest.approx(twice, rel=1e-4, abs=1e-5)
    assert sum(by_once) == pytest.approx(sum(by_twice), rel=1e-4, abs=1e-4)


@given(betas, st.floats(-3, 3), st.floats(-3, 3), smoothings)
def test_of_single_tokens_sum_and_mean_are_one(beta: float, chosen: float, rejected: float, smoothing: float):
    summed, averaged = (
        preference(loss, beta, [chosen], [rejected], smoothing) for loss in ("sigmoid", "length-normalized")
    )
    assert summed == averaged


def test_tokens_that_are_only_read_have_no_weight_and_no_share_in_a_mean():
    """β = 1, one scored token of three: the mean log-ratio is that of the token, −1 + 3 = 2, against −1 + 1 = 0.

    −ln σ(2) = 0.1269280. An SFT example weighs its one scored token.
    """
    pair = PairTokens("p", (1,), (7, 8, 2), (4,), chosen_context=2)
    logprobs = {"p/chosen": tensor(-1.0), "p/rejected": tensor(-1.0)}
    objective = DpoObjective(Dpo(loss="length-normalized", beta=1))
    loss, metrics = objective.loss((pair,), logprobs, {"p/chosen": -3.0, "p/rejected": -1.0})
    assert loss.item() == pytest.approx(0.1269280, abs=1e-6)
    assert metrics["chosen_nll"] == 1.0
    assert SftObjective().weight(SftTokens("s", (1,), (7, 8, 2), context=2)) == 1
