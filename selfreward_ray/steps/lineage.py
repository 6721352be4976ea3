"""Where a prompt of a run comes from and what became of it, read from the tables of the steps that had it."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from selfreward_ray.plan import PlannedStep
from selfreward_ray.prompts.demonstrations import seed_demonstrations, shown_in_round
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import SftExample
from selfreward_ray.store.blocks import PROPOSALS
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.lookup import rows_by, rows_of
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.tables import read_columns, read_rows

Row = dict[str, Any]


@dataclass(frozen=True)
class Lineage:
    """What the steps of M(t) have of one prompt, each row as a plain dict."""

    id: str
    prompt: Row | None
    proposal: Row | None
    """What a model proposed, before the filters; None for a prompt of a file or source."""
    judged: Row | None
    """The prompt with its replies and their verdicts."""
    made: list[Row]
    """Pairs, or positive replies."""
    dropped: dict[str, dict[str, str]]
    """By the name of a step, the ids that it dropped, with the reasons."""
    flagged: dict[str, str] = field(default_factory=dict)
    """Replies that may not be chosen, with the reasons."""

    @property
    def is_known(self) -> bool:
        return bool(self.prompt or self.proposal or self.judged or self.made or any(self.dropped.values()))

    def reply(self, name: str) -> Row | None:
        """The reply with the id `name`."""
        replies: list[Row] = self.judged["candidates"] if self.judged else []
        return next((reply for reply in replies if reply["id"] == name), None)


def read_lineage(name: str, steps: dict[str, PlannedStep]) -> Lineage:
    """Of the prompt `name`; `steps` are those of its model: ``propose``, ``respond``, ``pair`` and ``train``.

    Raises `UserError` for a damaged table.
    """
    propose, judged, pairs = (steps[each].folder for each in ("propose", "respond", "pair"))
    dropped = {each: _reasons(step.folder / "dropped", name) for each, step in steps.items()}
    return Lineage(
        name,
        prompt=_first(propose / "rows", name),
        proposal=_first(propose / PROPOSALS / "rows", name),
        judged=_first(judged / "rows", name),
        made=_rows(pairs / "rows", name),
        dropped=dropped,
        flagged=_reasons(pairs / "flagged", name),
    )


def _rows(table: Folder, name: str) -> list[Row]:
    return [row for found in rows_of(table, name) for row in found.to_pylist()]


def _first(table: Folder, name: str) -> Row | None:
    return next(iter(_rows(table, name)), None)


def _reasons(table: Folder, name: str) -> dict[str, str]:
    return {row["id"]: row["reason"] for row in _rows(table, name)}


def demonstrations_of(name: str, recipe: Recipe, step: PlannedStep) -> list[tuple[str, str]] | None:
    """What the request for the proposal `name` showed, in its order: ids and texts, drawn again from the recipe's seed.

    None while the propose `step` is unfinished, because it writes what it keeps at its end.
    """
    if read_manifest(step.folder) is None:
        return None
    place, size = int(name.rpartition("q")[2]), recipe.prompts.requests_per_round
    asked, kept_table = place - place % size, step.folder / "rows"
    seed_data = Folder(step.inputs["seed_data"])
    seeds = seed_demonstrations(read_rows(seed_data, SftExample), recipe.prompts, seed_data.uri)
    ids = (row["id"] for row in read_columns(kept_table, ["id"]))
    kept = sorted((each for each in ids if _number(each) < asked), key=_number)
    texts = {seed.id: seed.prompt for seed in seeds}
    shown = shown_in_round([seed.id for seed in seeds], kept, recipe, step.inputs["iteration"], asked)[place - asked]
    new = [each for each in shown if each not in texts]
    for found in rows_by(kept_table, pc.field("id").isin(new), ["id", "text"]) if new else []:
        texts |= {row["id"]: row["text"] for row in found.to_pylist()}
    return [(each, texts[each]) for each in shown]


def _number(name: str) -> int:
    return int(name.rpartition("q")[2])
