"""Rubrics: the judge's prompt, and how to read the score of its verdict (paper, section 2.2, figure 2)."""

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, field_validator, model_validator

from selfreward_ray.errors import UserError
from selfreward_ray.judging.escape import escape_tags, quote_scores
from selfreward_ray.judging.reading import read_grade, read_number
from selfreward_ray.yaml_text import YAML_FAULTS, load_yaml

_PACKAGED = resources.files(__package__) / "rubrics"
_ONE_REPLY = ("prompt", "reply")
_TWO_REPLIES = ("prompt", "first", "second")


class RubricError(UserError):
    """A rubric that cannot be used. The message names the file and the field."""


class Rubric(BaseModel):
    """The content of a rubric file. `name` is the file's name without its suffix.

    `template` contains ``{prompt}`` and ``{reply}``, or ``{prompt}``, ``{first}`` and ``{second}``. Each placeholder
    stands between an opening and a closing tag.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    template: str
    min_score: FiniteFloat
    max_score: FiniteFloat
    score_pattern: str
    """Regular expression that finds a score in a verdict. Its one group is the number or the grade."""
    scores: dict[str, FiniteFloat] = {}
    """The number of points for each grade, in any case; empty if the judge writes a number."""
    endings: tuple[str, ...] = ()
    """Every text that a verdict may end with if ``judge.constrained`` is set. Each contains a readable score."""

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names of the template's placeholders, in the order of the arguments of `render`."""
        return _TWO_REPLIES if "{first}" in self.template else _ONE_REPLY

    @field_validator("score_pattern")
    @classmethod
    def _one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"must have exactly one group, the score, but has {groups}")
        return pattern

    @field_validator("scores")
    @classmethod
    def _any_case(cls, scores: dict[str, float]) -> dict[str, float]:
        folded = {grade.casefold(): score for grade, score in scores.items()}
        if len(folded) < len(scores):
            raise ValueError("two grades differ only in case")
        return folded

    @model_validator(mode="after")
    def _usable(self) -> "Rubric":
        self._check_placeholders()
        if self.min_score >= self.max_score:
            raise ValueError(f"min_score {self.min_score:g} must be below max_score {self.max_score:g}")
        if self.placeholders == _TWO_REPLIES and (self.min_score, self.max_score) != (0, 1):
            raise ValueError(
                "a rubric of two replies must have min_score 0 (the second is better) and max_score 1 (the first is)"
            )
        for grade, score in self.scores.items():
            if not self.min_score <= score <= self.max_score:
                raise ValueError(f"scores: {grade} is {score:g}, which is not between min_score and max_score")
        for ending in self.endings:
            if self.read_score("x" + ending) is None:
                raise ValueError(f"endings: no score can be read from a verdict that ends with {ending!r}")
        return self

    def _check_placeholders(self) -> None:
        for name in {*_ONE_REPLY, *_TWO_REPLIES}.difference(self.placeholders):
            if f"{{{name}}}" in self.template:
                raise ValueError(f"template: {{{name}}} cannot be used together with {{{self.placeholders[1]}}}")
        for name in self.placeholders:
            enclosed = re.findall(rf"<(\w+)>\s*\{{{name}\}}\s*</\1>", self.template)
            if not enclosed or len(enclosed) != self.template.count(f"{{{name}}}"):
                raise ValueError(f"template: {{{name}}} must stand between tags, as in <text>{{{name}}}</text>")

    def render(self, prompt: str, *replies: str) -> str:
        """The judge's prompt for one reply, or for two if the template compares two.

        The texts are escaped: placeholders in them are not expanded, they cannot close the template's tags, and
        `read_score` reads no score from them, even if the judge copies one into its verdict.
        """
        texts = dict(zip(self.placeholders, map(self._escaped, (prompt, *replies)), strict=True))
        # One pass, so that a "{reply}" inside the prompt is not expanded.
        return re.sub(rf"\{{({'|'.join(texts)})\}}", lambda match: texts[match[1]], self.template)

    def read_score(self, verdict: str) -> float | None:
        """The last score of `verdict`; None if there is none, or if it is ambiguous or out of range.

        The text does not tell whether a verdict was cut off by the length limit. The caller must pass finished ones
        only.
        """
        found = list(re.finditer(self.score_pattern, verdict))
        if not found or not found[-1][1]:
            return None
        text, rest = found[-1][1], verdict[found[-1].end() :]
        score = read_grade(text, rest, self.scores) if self.scores else read_number(text, rest, self.max_score)
        return score if score is not None and self.min_score <= score <= self.max_score else None

    def constrained_pattern(self, max_tokens: int) -> str:
        """A regular expression for whole verdicts: a text of at most `max_tokens` tokens, then one of `endings`.

        In the worst case a token is a single byte, and a character has up to four bytes. So an ASCII text may have
        `max_tokens` characters, any other text ``max_tokens // 4``. The expression uses only groups, classes, counts
        and alternatives, which all structured-output backends support. Raises `RubricError` for a rubric without
        endings.
        """
        if not self.endings:
            raise RubricError(
                f"judge.constrained needs a rubric with endings, but rubric {self.name} has none; add endings to it, "
                "every text that a verdict may end with, or set judge.constrained to false"
            )
        literal = [re.sub(r"[\\.^$*+?{}()|\[\]]", r"\\\g<0>", ending).replace("\n", r"\n") for ending in self.endings]
        return rf"([\x00-\x7f]{{0,{max_tokens}}}|[\s\S]{{0,{max_tokens // 4}}})({'|'.join(literal)})"

    def _escaped(self, text: str) -> str:
        text = escape_tags(text, set(re.findall(r"<(\w+)>", self.template)))
        return quote_scores(text, self.score_pattern, lambda found: not self.scores or found.casefold() in self.scores)


def load_rubric(name_or_path: str) -> Rubric:
    """Load a rubric that judges one reply, by the name of a packaged one or the path of a YAML file.

    Raises `RubricError` if there is no such rubric or it cannot be used.
    """
    return _load(name_or_path, _ONE_REPLY)


def load_pairwise(name_or_path: str) -> Rubric:
    """Load a rubric that compares two replies, by the name of a packaged one or the path of a YAML file.

    Raises `RubricError` if there is no such rubric or it cannot be used.
    """
    return _load(name_or_path, _TWO_REPLIES)


def is_packaged(name_or_path: str) -> bool:
    """Whether it names a packaged rubric, which is the same on every machine."""
    return name_or_path in _packaged()


def _packaged() -> dict[str, Traversable]:
    return {file.name.removesuffix(".yaml"): file for file in _PACKAGED.iterdir()}


def _load(name_or_path: str, placeholders: tuple[str, ...]) -> Rubric:
    packaged = _packaged()
    path = Path(name_or_path)
    if name_or_path not in packaged and path.suffix not in {".yaml", ".yml"}:
        known = ", ".join(sorted(packaged))
        raise RubricError(f"unknown rubric {name_or_path!r}; packaged: {known}; or give the path of a .yaml file")
    try:
        values = load_yaml(packaged.get(name_or_path, path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RubricError(f"cannot read rubric {name_or_path}: {error.strerror}") from None
    except YAML_FAULTS as error:
        raise RubricError(f"rubric {name_or_path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise RubricError(f"rubric {name_or_path} must be a mapping of fields: template, min_score, …")
    try:
        rubric = Rubric.model_validate({"name": path.stem, **values})
    except ValidationError as error:
        lines = [_explain(detail["loc"], detail["msg"]) for detail in error.errors()]
        raise RubricError(f"rubric {name_or_path}: {'; '.join(lines)}") from None
    if rubric.placeholders != placeholders:
        shown, needed = (
            " and ".join(f"{{{name}}}" for name in names[1:]) for names in (rubric.placeholders, placeholders)
        )
        raise RubricError(f"rubric {name_or_path} has the placeholders {shown}; a rubric with {needed} is needed here")
    return rubric


def _explain(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return ": ".join([*map(str, location), message])
