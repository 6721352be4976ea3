"""What a kept reference is found by. The forward passes themselves are in `test_zero3`."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ranks import Silent
from tiny_model import write_tiny_model

from selfreward_ray.errors import UserError
from selfreward_ray.recipe.training import Dpo, Training
from selfreward_ray.records import PairTokens, SftTokens
from selfreward_ray.training import packing
from selfreward_ray.training.batches import plan_batches
from selfreward_ray.training.job import TrainJob
from selfreward_ray.training.objectives import DpoObjective, Reference
from selfreward_ray.training.reference import check_first_loss

pytestmark = [pytest.mark.engines, pytest.mark.usefixtures("one_rank")]

PAIRS = [PairTokens(f"p{i}", (1, 2), (3,) * (i + 1), (4,)) for i in range(4)]
KEPT = {"p0/chosen": -1.25, "p0/rejected": -2.0000001}


@pytest.fixture
def job(tmp_path: Path) -> TrainJob:
    model = write_tiny_model(tmp_path / "m1")
    return dpo_job(model, tmp_path / "M2", Dpo(batch_size=2))


def dpo_job(model: Path, out: Path, dpo: Dpo) -> TrainJob:
    return TrainJob("DPO", str(model), str(out), DpoObjective(dpo), dpo, Training(), 0, "run", Silent())


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks for a job's reference, and says whether it had to be computed."""
    from selfreward_ray.training import reference

    computed: list[str] = []

    def compute(engine: Any, plan: Any, job: TrainJob, rank: int) -> Reference:
        computed.append(job.out)
        return KEPT

    monkeypatch.setattr(reference, "_computed", compute)

    def asked(job: TrainJob, *, ranks: int = 1, pairs: list[PairTokens] = PAIRS, goes_on: bool = False) -> bool:
        computed.clear()
        plan = plan_batches(pairs, job.optimization, ranks, job.seed)
        assert reference.reference_logprobs(None, plan, job, goes_on=goes_on) == KEPT
        return bool(computed)

    return asked


def test_it_is_computed_once_and_kept_beside_the_model(job: TrainJob, ask: Any):
    assert ask(job)
    assert not ask(job)
    assert sorted(path.name for path in Path(job.out).iterdir()) == ["reference", "training"]


def test_another_beta_and_rate_find_it(job: TrainJob, ask: Any):
    assert ask(job)
    other = Dpo(batch_size=2, beta=0.5, learning_rate=1e-5, epochs=3)
    assert not ask(replace(job, objective=DpoObjective(other), optimization=other))


def test_pairs_that_carry_judging_rows_find_it_too(job: TrainJob, ask: Any):
    assert ask(job)
    assert not ask(job, pairs=[replace(pair, eft=SftTokens("s/eft", (7,), (8,))) for pair in PAIRS])


def test_it_is_found_wherever_the_same_weights_are(job: TrainJob, ask: Any, tmp_path: Path):
    assert ask(job)
    assert not ask(replace(job, model=str(shutil.copytree(job.model, tmp_path / "copy"))))


def test_other_weights_in_the_same_place_are_another_reference(job: TrainJob, ask: Any):
    assert ask(job)
    write_tiny_model(Path(job.model), seed=1)
    assert ask(job)


def test_passes_of_other_sequences_are_another_reference(job: TrainJob, ask: Any):
    """In bfloat16 they say something else of it. Small passes and two ranks both take pairs one by one."""
    assert ask(job)
    small = Dpo(batch_size=2, micro_batch_tokens=1)
    one_by_one = replace(job, objective=DpoObjective(small), optimization=small)
    assert ask(one_by_one)
    assert not ask(one_by_one, ranks=2)


def test_a_training_that_goes_on_has_what_it_began_with(job: TrainJob, ask: Any):
    """Two ranks have other passes than one."""
    assert ask(job)
    assert not ask(job, ranks=2, goes_on=True)
    assert ask(job, ranks=2), "it begins anew"
    assert not ask(job, ranks=3, goes_on=True)
    shutil.rmtree(Path(job.out) / "reference")
    assert ask(job, ranks=2, goes_on=True)


@pytest.mark.parametrize("pairs", [1, 2])
def test_rows_that_share_less_are_another_reference(
    job: TrainJob, ask: Any, pairs: int, monkeypatch: pytest.MonkeyPatch
):
    """As an earlier version laid them out, one pair or two in a row."""
    dpo = Dpo(batch_size=pairs)
    job = replace(job, objective=DpoObjective(dpo), optimization=dpo)
    assert ask(job)
    monkeypatch.setattr(packing, "_common_beginning", lambda one, other: 0)
    assert ask(job)


def test_other_token_ids_and_another_dtype_are_another_reference(job: TrainJob, ask: Any):
    assert ask(job)
    assert ask(job, pairs=[*PAIRS[:3], replace(PAIRS[3], rejected_ids=(5,))])
    assert ask(replace(job, training=Training(dtype="float32")))


def test_a_gpu_and_its_kernels_have_another_reference(job: TrainJob, ask: Any):
    assert ask(job)
    assert ask(replace(job, training=Training(gpus_per_worker=1)))
    assert ask(replace(job, training=Training(gpus_per_worker=1, liger_kernels=True)))


def test_a_pass_that_only_fills_up_a_rank_says_nothing(job: TrainJob, monkeypatch: pytest.MonkeyPatch):
    """Three pairs on two ranks: the last pass of one rank repeats a pair of the other's."""
    from selfreward_ray.training import reference

    plan = plan_batches(PAIRS[:3], Dpo(batch_size=3, micro_batch_tokens=1), 2, job.seed)

    def logprobs(engine: Any, micro: Any) -> dict[str, torch.Tensor]:
        value = torch.nan if micro.blank else -2.0
        return {s.id: torch.full((2,), value) for pair in micro.examples for s in pair.sequences()}

    monkeypatch.setattr(reference, "logprobs_of", logprobs)
    engine = SimpleNamespace(eval=lambda: None, train=lambda: None)
    said = [reference._computed(engine, plan, job, rank) for rank in range(2)]
    assert sum(micro.blank for ranks in plan[0].ranks for micro in ranks) == 1
    assert said[0] | said[1] == {s.id: -4.0 for pair in PAIRS[:3] for s in pair.sequences()}
    assert sorted(len(share) for share in said) == [2, 4]


@pytest.mark.parametrize(("loss", "expected"), [(0.6935, 0.6931472), (25.02, 25.0), (2499.0, 2500.0), (0.0105, 0.01)])
def test_what_an_untouched_model_must_cost_may_differ_by_a_thousandth(loss: float, expected: float):
    check_first_loss(loss, expected)


@pytest.mark.parametrize(
    ("loss", "expected"), [(0.6942, 0.6931472), (25.03, 25.0), (0.6931472, 25.0), (0.012, 0.01), (float("nan"), 25.0)]
)
def test_a_first_loss_of_another_reference_is_refused(loss: float, expected: float):
    with pytest.raises(UserError, match=f"first step's preference loss is {loss:.5f}, not {expected:.5f}"):
        check_first_loss(loss, expected)
