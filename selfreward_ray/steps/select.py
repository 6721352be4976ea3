"""The choice of M(t+1) among the snapshots of a DPO training: their answers, the verdicts, and the rule.

A snapshot's folder contains its model, and the folders of the steps that judge it: `sample`, then `judge` and
`head_to_head`, or `compare`. These are the loop's own steps, and a finished one is not run again. So the result is the
same whether they ran beside the training, in Ray Train's asynchronous validation, or after it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from pyarrow import fs

from selfreward_ray.cluster.requests import replica_request
from selfreward_ray.errors import UserError
from selfreward_ray.evaluation.selection import Selected, select
from selfreward_ray.judging.rubric import is_packaged
from selfreward_ray.prompts.given import given_id
from selfreward_ray.recipe.endpoint import is_endpoint
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.section import used
from selfreward_ray.records import Prompt, RankedSet
from selfreward_ray.steps.asked_model import judging
from selfreward_ray.steps.compare import compare
from selfreward_ray.steps.head_to_head import head_to_head
from selfreward_ray.steps.judge import judge
from selfreward_ray.steps.pooled import PooledStep, run_pooled
from selfreward_ray.steps.sample import sample
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.run import SNAPSHOT, ModelLayout
from selfreward_ray.store.step import Step, finished_step
from selfreward_ray.store.tables import read_rows
from selfreward_ray.training.job import Validation

_PROMPTS = "prompts"
_TRAINED = "trained.json"
"""Says that the training has ended: no more snapshots will come."""
_CHOSEN = "selected.json"

RunPooled = Callable[[PooledStep], Any]


@dataclass(frozen=True)
class Selection:
    """The choice for one training. It is sent to other processes, and so holds only values."""

    recipe: Recipe
    made: ModelLayout
    """The folders of the training."""
    seed_data: str
    """The seed step with the table `validation`."""
    judge: str
    label: str
    run: RunPooled = run_pooled
    """Runs a step on a pool of its model."""

    def part(self) -> dict[str, Any]:
        """What determines the choice, for the fingerprint of the training, beside `inputs`."""
        _, verdicts = judging(self.recipe, pairwise=self._pairwise)
        return {
            "every": self.recipe.training.select_every,
            "method": "pairwise" if self._pairwise else "scores",
            "sampling": used(self.recipe.respond.sampling),
            "verdicts": verdicts,
        }

    def inputs(self) -> dict[str, str]:
        return {"validation": self.seed_data, "judge": self.judge}

    def begin(self) -> None:
        """Write the prompts. Raises `UserError` if the seed step has none."""
        seeds = read_rows(finished_step(self.seed_data, "seed"), RankedSet, "validation")
        if not seeds:
            raise UserError(
                f"{self.label}: {self.seed_data} has no prompts to choose a checkpoint by (table validation); make the "
                "seed step again with training.select=judged, or set training.select=last"
            )
        step = Step(
            "propose", (self.made.snapshots / _PROMPTS).uri, {"prompts": "validation"}, {"seed": self.seed_data}
        )
        if not step.is_done():
            prompts = [Prompt(given_id(number), ranked.prompt, ranked.history) for number, ranked in enumerate(seeds)]
            step.write(prompts, Prompt)
            step.finish(offered=len(prompts))

    def validation(self) -> Validation | None:
        """What Ray Train runs beside the training; None if only the driver can run it.

        An endpoint's key is in the driver's environment alone, and so may be a rubric's file.
        """
        rubric = self.recipe.judge.pairwise_rubric if self._pairwise else self.recipe.judge.rubric
        if is_endpoint(self.judge) or not is_packaged(rubric):
            return None
        # No more replicas than were looked for: others would take the place of workers that start again.
        inference = self.recipe.inference
        inference = inference.model_copy(update={"max_replicas": inference.min_replicas})
        beside = replace(self, recipe=self.recipe.model_copy(update={"inference": inference}))
        return Validation(beside.is_decided, replica_request(inference), decided=self._decided_before())

    def is_decided(self, step: int) -> bool:
        """Judge the snapshots up to `step`; whether the choice is made, so that the training can end."""
        snapshots = [found for found in self._snapshots() if found <= step]
        self._scored_answers(snapshots[0])
        return select(snapshots, self._outcomes).decided

    def is_trained(self) -> bool:
        """Whether an earlier attempt has ended the training."""
        return self.made.snapshots.is_file(_TRAINED) or self.made.training.is_file(_CHOSEN)

    def _decided_before(self) -> bool:
        """Whether the choice is made by the comparisons that an earlier attempt has finished."""
        snapshots = self._snapshots()
        judged = snapshots[:1]
        judged += [step for _, step in pairwise(snapshots) if read_manifest(self._folder(step) / "against") is not None]
        return bool(judged) and select(judged, self._outcomes).decided

    def trained(self) -> None:
        """Note that the training has ended."""
        self.made.snapshots.write_json(_TRAINED, {"snapshots": self._snapshots()})

    def choose(self) -> dict[str, Any]:
        """Judge what is not judged yet, and make the chosen snapshot the model. The other snapshots are deleted.

        Returns what the manifest says of the choice.
        """
        training = self.made.training
        if not training.is_file(_CHOSEN):
            snapshots = self._snapshots()
            if not snapshots:
                raise UserError(
                    f"{self.label}: the training has ended, but {self.made.snapshots.uri} has none of its snapshots; "
                    f"remove {training.uri} to train again"
                )
            found = select(snapshots, self._outcomes)
            training.write_json(_CHOSEN, self._described(found))
        chosen: dict[str, Any] = training.read_json(_CHOSEN)
        self._place(chosen["step"])
        self.made.snapshots.delete()
        return chosen

    @property
    def _pairwise(self) -> bool:
        return self.recipe.evaluation.head_to_head == "pairwise"

    @property
    def _one_reply(self) -> Recipe:
        """The recipe with one answer to a prompt, as in an evaluation."""
        return self.recipe.model_copy(update={"respond": self.recipe.respond.model_copy(update={"candidates": 1})})

    def _folder(self, step: int) -> Folder:
        return self.made.snapshot(step)

    def _snapshots(self) -> list[int]:
        """The optimizer steps of the complete snapshots, in order."""
        folders = self.made.snapshots
        return [int(name) for name in folders.folders() if (folders / name).is_file(SNAPSHOT)]

    def _outcomes(self, step: int, against: int) -> dict[str, Any]:
        """The outcomes of a comparison, from its manifest if it is finished."""
        out = self._folder(step) / "against"
        if (manifest := read_manifest(out)) is None:
            before = self._scored_answers(against)
            sides = {"left": self._scored_answers(step), "right": before}
            label = f"{self.label} · step {step} against step {against}"
            if self._pairwise:
                self._compare(sides, out, label)
            else:
                head_to_head(self.recipe, **sides, out=out.uri, label=label)
            manifest = read_manifest(out)
            assert manifest is not None, "a step that ended has a manifest"
        outcomes: dict[str, Any] = manifest.metrics["outcomes"]
        return outcomes

    def _compare(self, sides: dict[str, str], out: Folder, label: str) -> None:
        try:
            self.run(compare(self.recipe, model=self.judge, **sides, out=out.uri, label=label))
        except UserError as error:
            raise UserError(
                f"{error}; in a new run, set judge.constrained=true, another evaluation.judge, or training.select=last"
            ) from None

    def _scored_answers(self, step: int) -> str:
        """The step with a snapshot's answers, and with their scores unless they are compared in pairs."""
        folder, label = self._folder(step), f"{self.label} · step {step}"
        answers, scored = folder / "answers", folder / "scored"
        if read_manifest(answers) is None:
            prompts, model = (self.made.snapshots / _PROMPTS).uri, (folder / "model").uri
            self.run(sample(self._one_reply, model=model, prompts=prompts, out=answers.uri, label=f"{label} answers"))
        if self._pairwise:
            return answers.uri
        if read_manifest(scored) is None:
            label = f"{label} scores"
            self.run(judge(self.recipe, model=self.judge, replies=answers.uri, out=scored.uri, label=label))
        return scored.uri

    def _described(self, found: Selected) -> dict[str, Any]:
        return {
            "step": found.step,
            "of": found.of,
            "why": found.why,
            "judge": self.judge,
            "method": "pairwise" if self._pairwise else "scores",
            "compared": [{"step": each.step, "against": each.against, **each.outcomes} for each in found.compared],
        }

    def _place(self, step: int) -> None:
        """Make a snapshot's model the training's. Nothing happens if an earlier attempt has done so."""
        snapshot, model = self._folder(step), self.made.model
        source = snapshot / "model"
        if not snapshot.is_file(SNAPSHOT) or not source.files():
            return
        model.delete()
        filesystem, path = source.filesystem()
        _, target = model.filesystem()
        if isinstance(filesystem, fs.LocalFileSystem):
            filesystem.move(path, target)
        else:  # nothing can be renamed in an object store
            filesystem.create_dir(target, recursive=True)
            fs.copy_files(path, target, source_filesystem=filesystem, destination_filesystem=filesystem)
            filesystem.delete_file(f"{snapshot.filesystem()[1]}/{SNAPSHOT}")
