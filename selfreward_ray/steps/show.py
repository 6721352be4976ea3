"""Where one thing of a run comes from: a prompt, reply, verdict, pair or model, found by its id."""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc
from rich.console import Console

from selfreward_ray.errors import UserError
from selfreward_ray.plan import TRAINING_STEPS, PlannedStep, plan
from selfreward_ray.reporting.formatting import amount, counted, number, shortened
from selfreward_ray.reporting.made_by import recipe_of, versions_of
from selfreward_ray.reporting.row_text import print_row, print_text, say
from selfreward_ray.steps.lineage import Lineage, demonstrations_of, read_lineage
from selfreward_ray.store.blocks import PROPOSALS, tables_of
from selfreward_ray.store.folder import Folder, same_place
from selfreward_ray.store.lookup import below, rows_by
from selfreward_ray.store.manifest import read_manifest
from selfreward_ray.store.run import RunLayout

_SHORT = 160
"""Characters of a text that is shown beside the one that was asked for."""
_OF_THE_LOOP = re.compile(r"(M(\d+)/[qp]\d+)(?:/(.+))?")


def show(run: str, name: str, console: Console | None = None) -> None:
    """Print where `name` of a run comes from, by which steps it was made, and which model was trained on it.

    Raises `UserError` for no run's folder, for an id that the run does not have, and for a damaged table.
    """
    shown = _Show(RunLayout(run).current(), console or Console())
    if re.fullmatch(r"M\d+", name):
        shown.model(int(name[1:]))
    elif found := _OF_THE_LOOP.fullmatch(name):
        shown.of_the_loop(found[1], int(found[2]), found[3] or "")
    else:
        shown.elsewhere(name)


class _Show:
    def __init__(self, layout: RunLayout, console: Console) -> None:
        self._layout = layout
        self._recipe = layout.recipe()
        self._steps = plan(self._recipe, layout)
        self._console = console

    # A model

    def model(self, t: int) -> None:
        """M(t), with the steps that made it and those that use it; M0 is the model that the run starts from."""
        last = self._recipe.iterations + 1
        if t > last:
            raise UserError(f"{self._layout.uri} makes the models M1 to M{last}, and no M{t}")
        uri = self._layout.model(t).uri if t else self._recipe.model
        self._head(f"M{t}: {'a model of the run' if t else 'the model that the run starts from'}")
        self._say(f"weights: {uri}")
        if rejection := self._layout.rejection(t):
            self._say(f"rejected after {rejection.step}: {rejection.text}")
        if t:
            training = self._training(t)
            for given in training.inputs.values():
                self._say(f"made from: {self._described(given)}" if given else "")
            self._head("made by")
            self._made_by(training)
        self._head("used by")
        users = [step for step in self._steps if any(_same(given, uri) for given in step.inputs.values())]
        for step in users:
            self._say(f"{step.label}: {step.folder.uri}, {self._state(step)}")
        if not users:
            self._say("no step of the run")

    def _described(self, uri: str) -> str:
        """What a training was given: a step with its rows, or a model."""
        made_by = [step for step in self._steps if _same(step.out if step.made_in else step.folder.uri, uri)]
        models = [t for t in range(1, self._recipe.iterations + 2) if _same(self._layout.model(t).uri, uri)]
        name = f"M{models[0]}, " if models else f"{made_by[0].label}, " if made_by else ""
        manifest = read_manifest(Folder(uri)) if made_by else None
        return f"{name}{uri}" + (f" ({amount(manifest.rows.get('rows', 0), 'row')})" if manifest else "")

    def _training(self, t: int) -> PlannedStep:
        return next(step for step in self._steps if step.folder.uri == self._layout.training(t).uri)

    # A prompt of the loop, its replies, verdicts and pairs

    def of_the_loop(self, prompt: str, t: int, rest: str) -> None:
        """The thing ``prompt/rest``, which M(t) is trained on."""
        last = self._recipe.iterations + 1
        name = f"{prompt}/{rest}".rstrip("/")
        if not 2 <= t <= last:
            models = f"M2 to M{last}" if last > 1 else "no model"
            raise UserError(f"{self._layout.uri} has no {name}: prompts are made for {models}")
        of_model = {step.name: step for step in self._steps if step.model == f"M{t}"}
        steps = {each: of_model[each] for each in ("propose", "respond", "pair")} | {"train": self._training(t)}
        found = read_lineage(prompt, steps)
        if not found.is_known:
            raise UserError(self._unknown(name, prompt, steps["propose"]))
        self._asked(found, name, rest, steps)
        self._prompt(found, steps["propose"])
        if rest:
            self._say(shortened(_text(found), _SHORT))
        self._replies(found, name, steps["respond"])
        self._outcome(found, steps["pair"], steps["train"])
        self._head("made by")
        for step in steps.values():
            self._made_by(step)

    def _unknown(self, name: str, prompt: str, propose: PlannedStep) -> str:
        said = f"{self._layout.uri} has no {name}: "
        if read_manifest(propose.folder) is None:
            return f"{said}its step {propose.label} is not finished, and has no {prompt} yet"
        return f"{said}there is no prompt {prompt}; `selfreward rows {propose.folder.uri}` prints those that are"

    def _asked(self, found: Lineage, name: str, rest: str, steps: dict[str, PlannedStep]) -> None:
        """The thing itself. Raises `UserError` if the prompt has none of that id."""
        made = [row for row in found.made if row["id"] == name]
        reply = found.reply("/".join(name.split("/")[:3]))
        if not rest:
            self._head(f"{name}: a prompt")
            self._text("", _text(found))
        elif re.fullmatch(r"r\d+", rest) and reply:
            self._head(f"{name}: a reply by {self._model_of(steps['respond'])}")
            self._reply(reply, found)
            for verdict in reply["verdicts"]:
                self._verdict(verdict)
        elif re.fullmatch(r"r\d+/v\d+", rest) and reply and any(each["id"] == name for each in reply["verdicts"]):
            self._head(f"{name}: a verdict by {self._model_of(steps['respond'])}")
            self._verdict(next(each for each in reply["verdicts"] if each["id"] == name))
            self._head(f"{reply['id']}: the reply")
            self._reply(reply, found)
        elif made:
            self._head(f"{name}: a pair")
            for side in ("chosen", "rejected"):
                self._say(f"{side}: {made[0][side]['id']}")
                self._reply(made[0][side], found)
        else:
            said = f"{self._layout.uri} has no {name}"
            reasons = [
                f"; {step} dropped {each}: {why}" for step, ids in found.dropped.items() for each, why in ids.items()
            ]
            have = [row["id"] for row in [*(found.judged or {"candidates": []})["candidates"], *found.made]]
            raise UserError(
                f"{said}{''.join(reasons)}; of {found.id} it has {', '.join(dict.fromkeys(have)) or 'the prompt alone'}"
            )

    def _reply(self, reply: dict[str, Any], found: Lineage) -> None:
        self._say(f"{_scores(reply)}{_marks(reply, found)}")
        if reply.get("thought"):
            self._text("thought", reply["thought"])
        self._text("", reply["text"])

    def _verdict(self, verdict: dict[str, Any]) -> None:
        self._say(f"{verdict['id']}: score {_score(verdict['score'])}, {amount(verdict['attempts'], 'attempt')}")
        if verdict.get("thought"):
            self._text("thought", verdict["thought"])
        self._text("", verdict["text"])

    def _prompt(self, found: Lineage, step: PlannedStep) -> None:
        """Where the prompt comes from."""
        self._head(f"{found.id}: where the prompt comes from")
        wanted, place = self._recipe.prompts, int(re.sub(r".*[qp]", "", found.id))
        if "/p" in found.id:
            before = wanted.count * (step.inputs["iteration"] - 1)
            self._say(f"prompt {number(before + place + 1)} of prompts.source = {wanted.source}")
        else:
            self._say(f"proposed by {wanted.proposer or self._recipe.model}, request {number(place)} of its iteration")
            shown = demonstrations_of(found.id, self._recipe, step)
            if shown is None:
                self._say("what the request showed can be told once the step is finished")
            else:
                self._say("the request showed (drawn again from the recipe's seed):")
            for name, text in shown or []:
                say(self._console, f"{name}  {shortened(' '.join(text.split()), _SHORT)}", 4)
        for turn in (found.prompt or {}).get("history") or []:
            self._text(turn["role"], turn["text"])

    def _replies(self, found: Lineage, name: str, step: PlannedStep) -> None:
        self._head(f"replies by {self._model_of(step)}")
        first = self._layout.root / step.model / "judged"
        if step.folder != first and first.folders():
            self._say(f"{first.uri} has others with the same ids, by a rejected model, on which no model was trained")
        for reply in found.judged["candidates"] if found.judged else []:
            self._say(f"{reply['id']}: {_scores(reply)}{_marks(reply, found)}")
            if reply["id"] not in (name, name.rpartition("/")[0]):
                say(self._console, shortened(" ".join(reply["text"].split()), _SHORT), 4)
        if not found.judged:
            dropped = found.dropped["propose"] or found.dropped["respond"]
            self._say("none: " + ("the prompt was dropped" if dropped else f"{step.label} {self._state(step)}"))

    def _outcome(self, found: Lineage, pair: PlannedStep, train: PlannedStep) -> None:
        """Pairs, what was dropped and why, and which model was trained on them."""
        self._head("what became of it")
        for step, dropped in found.dropped.items():
            for name, reason in dropped.items():
                self._say(f"{name} was dropped by {step if step != 'train' else train.name}: {reason}")
        for row in found.made:
            said = f"{row['id']}: a reply to train on"
            if "chosen" in row:
                said = f"{row['id']}: {row['chosen']['id']} is preferred to {row['rejected']['id']}"
            if row["id"] in found.dropped["train"]:
                self._say(said)
            elif read_manifest(train.folder):
                self._say(f"{said}; {train.model} was trained on it, by {train.title}")
            else:
                self._say(f"{said}; {train.label} {self._state(train)}")
        if not found.made and not any(found.dropped.values()):
            self._say(f"{pair.label} {self._state(pair)}")

    # Ids of seed data and of held-out sets

    def elsewhere(self, name: str) -> None:
        """Whatever has the id, or one that begins with it, in any step of the run: seed data, held-out answers."""
        parts = name.split("/")
        above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        condition = pc.field("id").isin(above) | below(name)
        examples: dict[str, str] = {}
        known = False
        for step in self._steps:
            for table in sorted({*tables_of(step.folder)} - {"snapshots", PROPOSALS, "ray_train"}):
                rows = [row for found in rows_by(step.folder / table, condition) for row in found.to_pylist()]
                known = known or bool(rows)
                if rows and (step.name not in TRAINING_STEPS or table != "rows"):
                    self._found(step, table, rows)
                if step.name in ("seed", "eft") and table == "rows":
                    examples |= {row["id"]: step.folder.uri for row in rows}
            if step.name in ("baseline", "sft"):
                self._trained(step, examples, condition)
        if not known:
            raise UserError(
                f"{self._layout.uri} has nothing with the id {name}; ids are such as M2, M2/q000123, M2/q000123/r2, "
                "M2/q000123/r2/v0, M2/q000123/pair, and those of the seed data; `selfreward rows STEP` prints a step's"
            )

    def _found(self, step: PlannedStep, table: str, rows: Sequence[dict[str, Any]]) -> None:
        self._head(f"{step.label}: {(step.folder / table).uri}")
        if model := step.inputs.get("model"):
            self._say(f"by {self._described(model)}")
        for row in rows:
            print_row(self._console, row)

    def _trained(self, step: PlannedStep, examples: dict[str, str], condition: pc.Expression) -> None:
        """Which of the `examples`, whose steps are given by their URIs, a training was given and has not left out."""
        dropped = rows_by(step.folder / "dropped", condition, ["id"])
        left_out = {row["id"] for found in dropped for row in found.to_pylist()}
        kept = [name for name, uri in examples.items() if uri in step.inputs.values() and name not in left_out]
        if kept:
            self._head(f"{step.label}: {self._state(step)}")
            done = read_manifest(step.folder) is not None
            self._say(f"{'trained on' if done else 'to be trained on'}: {', '.join(kept)}")

    # What all have in common

    def _made_by(self, step: PlannedStep) -> None:
        """A step, with the weights, the recipe's values and the versions that it worked with."""
        manifest = read_manifest(step.folder)
        self._say(f"{step.label}: {step.folder.uri}, {self._state(step)}")
        if manifest is None:
            return
        lines = [f"dropped: {counted(manifest.dropped)}"] if manifest.dropped else []
        inputs = manifest.made_from.get("inputs", {})
        if model := step.inputs.get("model"):
            identity = f", fingerprint {inputs['model'][:12]}" if "model" in inputs else ""
            lines.append(f"model: {self._described(model)}{identity}")
        lines += [f"recipe: {recipe_of(manifest)}", f"versions: {versions_of(manifest)}"]
        for line in lines:
            say(self._console, line, 4)

    def _state(self, step: PlannedStep) -> str:
        manifest = read_manifest(step.folder)
        if manifest is None:
            return "is not finished"
        figures = [amount(manifest.rows.get("rows", 0), "row")]
        figures += [f"{number(manifest.tokens)} tokens"] if manifest.tokens else []
        return f"is finished: {', '.join(figures)}, {manifest.seconds:.0f} s"

    def _model_of(self, step: PlannedStep) -> str:
        return self._described(step.inputs["model"])

    def _head(self, text: str) -> None:
        say(self._console, text, style="bold")

    def _say(self, text: str) -> None:
        if text:
            say(self._console, text, 2)

    def _text(self, name: str, text: str) -> None:
        if name:
            print_text(self._console, name, text, 2)
        else:
            say(self._console, text, 4)


def _same(given: Any, uri: str) -> bool:
    return isinstance(given, str) and same_place(given) == same_place(uri)


def _text(found: Lineage) -> str:
    for row in (found.prompt, found.judged, found.proposal):
        if row:
            return str(row["text"])
    return "(its text is not known)"


def _score(score: float | None) -> str:
    return "none" if score is None else f"{score:g}"


def _scores(reply: dict[str, Any]) -> str:
    scores = ", ".join("unreadable" if each["score"] is None else f"{each['score']:g}" for each in reply["verdicts"])
    return f"mean score {_score(reply['mean'])} ({scores or 'no verdicts'})"


def _marks(reply: dict[str, Any], found: Lineage) -> str:
    cut = "" if reply["finished"] else "; not finished"
    flag = found.flagged.get(reply["id"])
    return cut + (f"; flagged, and so not to be chosen: {flag}" if flag else "")
