"""A rubric: how the judge is asked, and how the score of its verdict is read (paper, section 2.2, figure 2)."""

import re
from importlib import resources
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, field_validator, model_validator

from selfreward_ray.errors import YAML_FAULTS, UserError
from selfreward_ray.judging.escape import escape_tags, quote_scores
from selfreward_ray.judging.reading import read_grade, read_number

_PACKAGED = resources.files(__package__) / "rubrics"
_ONE_REPLY = ("prompt", "reply")
_TWO_REPLIES = ("prompt", "first", "second")


class RubricError(UserError):
    """A rubric that can not be used; the message names the file and the field."""


class Rubric(BaseModel):
    """One rubric file; `name` is the file's stem.

    `template` shows ``{prompt}`` and ``{reply}``, or ``{prompt}``, ``{first}`` and ``{second}``, each between tags.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    template: str
    min_score: FiniteFloat
    max_score: FiniteFloat
    score_pattern: str
    """Finds a score in a verdict; its one group is the number, or the grade."""
    scores: dict[str, FiniteFloat] = {}
    """The number of each grade that the judge may choose, in any case; empty where it writes the number itself."""
    endings: tuple[str, ...] = ()
    """Every end that a verdict may have where decoding is constrained; each is a readable score."""

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names of the texts that the template shows, in the order of `render`."""
        return _TWO_REPLIES if "{first}" in self.template else _ONE_REPLY

    @field_validator("score_pattern")
    @classmethod
    def _one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"must have one group, the score, but has {groups}")
        return pattern

    @field_validator("scores")
    @classmethod
    def _any_case(cls, scores: dict[str, float]) -> dict[str, float]:
        folded = {grade.casefold(): score for grade, score in scores.items()}
        if len(folded) < len(scores):
            raise ValueError("two grades differ in nothing but their case")
        return folded

    @model_validator(mode="after")
    def _usable(self) -> "Rubric":
        self._check_placeholders()
        if self.min_score >= self.max_score:
            raise ValueError(f"min_score {self.min_score:g} must be below max_score {self.max_score:g}")
        if self.placeholders == _TWO_REPLIES and (self.min_score, self.max_score) != (0, 1):
            raise ValueError("a rubric of two replies scores from 0, the second is better, to 1, the first is")
        for grade, score in self.scores.items():
            if not self.min_score <= score <= self.max_score:
                raise ValueError(f"scores: {grade} is {score:g}, which is out of range")
        for ending in self.endings:
            if self.read_score("x" + ending) is None:
                raise ValueError(f"endings: no score can be read from a text that ends in {ending!r}")
        return self

    def _check_placeholders(self) -> None:
        for name in {*_ONE_REPLY, *_TWO_REPLIES}.difference(self.placeholders):
            if f"{{{name}}}" in self.template:
                raise ValueError(f"template: {{{name}}} does not go with {{{self.placeholders[1]}}}")
        for name in self.placeholders:
            enclosed = re.findall(rf"<(\w+)>\s*\{{{name}\}}\s*</\1>", self.template)
            if not enclosed or len(enclosed) != self.template.count(f"{{{name}}}"):
                raise ValueError(f"template: {{{name}}} must stand between tags, as in <text>{{{name}}}</text>")

    def render(self, prompt: str, *replies: str) -> str:
        """The judge's question about one reply, or about two where the template shows two.

        Nothing inside the texts is expanded, can close the template's tags, or is a score to `read_score`, even
        when the judge copies it from the question.
        """
        texts = dict(zip(self.placeholders, map(self._escaped, (prompt, *replies)), strict=True))
        # One pass: a "{reply}" inside the prompt stays as it is.
        return re.sub(rf"\{{({'|'.join(texts)})\}}", lambda match: texts[match[1]], self.template)

    def read_score(self, verdict: str) -> float | None:
        """The last score of `verdict`; None when there is none, or when it is doubtful or out of range.

        Whether the verdict was cut off does not show in it: read only those that the model ended by itself.
        """
        found = list(re.finditer(self.score_pattern, verdict))
        if not found or not found[-1][1]:
            return None
        text, rest = found[-1][1], verdict[found[-1].end() :]
        score = read_grade(text, rest, self.scores) if self.scores else read_number(text, rest, self.max_score)
        return score if score is not None and self.min_score <= score <= self.max_score else None

    def constrained_pattern(self, max_tokens: int) -> str:
        """A regular expression of whole verdicts: any text of at most `max_tokens`, then one of `endings`.

        A token may be a single byte, and a character has up to four: a text that is not ASCII throughout has at most
        ``max_tokens // 4`` characters. The expression holds only groups, classes, counts and alternatives, which every
        grammar engine knows. Raises `RubricError` for a rubric without endings.
        """
        if not self.endings:
            raise RubricError(
                f"judge.constrained needs every end that a verdict may have, but rubric {self.name} has no endings"
            )
        literal = [re.sub(r"[\\.^$*+?{}()|\[\]]", r"\\\g<0>", ending).replace("\n", r"\n") for ending in self.endings]
        return rf"([\x00-\x7f]{{0,{max_tokens}}}|[\s\S]{{0,{max_tokens // 4}}})({'|'.join(literal)})"

    def _escaped(self, text: str) -> str:
        text = escape_tags(text, set(re.findall(r"<(\w+)>", self.template)))
        return quote_scores(text, self.score_pattern, lambda found: not self.scores or found.casefold() in self.scores)


def load_rubric(name_or_path: str) -> Rubric:
    """The packaged rubric of that name, or of a YAML file, which judges one reply. Raises `RubricError`."""
    return _load(name_or_path, _ONE_REPLY)


def load_pairwise(name_or_path: str) -> Rubric:
    """The packaged rubric of that name, or of a YAML file, which compares two replies. Raises `RubricError`."""
    return _load(name_or_path, _TWO_REPLIES)


def _load(name_or_path: str, placeholders: tuple[str, ...]) -> Rubric:
    packaged = {file.name.removesuffix(".yaml"): file for file in _PACKAGED.iterdir()}
    path = Path(name_or_path)
    if name_or_path not in packaged and path.suffix not in {".yaml", ".yml"}:
        known = ", ".join(sorted(packaged))
        raise RubricError(f"unknown rubric {name_or_path!r}; packaged: {known}; or give the path of a .yaml file")
    try:
        values = yaml.safe_load(packaged.get(name_or_path, path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RubricError(f"can not read rubric {name_or_path}: {error.strerror}") from None
    except YAML_FAULTS as error:
        raise RubricError(f"rubric {name_or_path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise RubricError(f"rubric {name_or_path} must hold a mapping of fields: template, min_score, …")
    try:
        rubric = Rubric.model_validate({"name": path.stem, **values})
    except ValidationError as error:
        lines = [_explain(detail["loc"], detail["msg"]) for detail in error.errors()]
        raise RubricError(f"rubric {name_or_path}: {'; '.join(lines)}") from None
    if rubric.placeholders != placeholders:
        shown, needed = (
            " and ".join(f"{{{name}}}" for name in names[1:]) for names in (rubric.placeholders, placeholders)
        )
        raise RubricError(f"rubric {name_or_path} shows {shown}, but here one is needed that shows {needed}")
    return rubric


def _explain(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return ": ".join([*map(str, location), message])
