"""Rubrics: the judge's prompt, and how to read the score of its verdict (paper, section 2.2, figure 2)."""

import difflib
import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator, model_validator
from yaml import YAMLError

from selfreward_ray.errors import UserError
from selfreward_ray.judging.escape import escape_tags, quote_scores
from selfreward_ray.judging.probe import frames, repeats_a_repetition
from selfreward_ray.judging.prose import plain, prose_matches, prose_score
from selfreward_ray.judging.reading import MARKS, names_score, pattern_matches, pattern_score
from selfreward_ray.yaml_text import load_yaml

_PACKAGED = resources.files(__package__) / "rubrics"
_ONE_REPLY = ("prompt", "reply")
_TWO_REPLIES = ("prompt", "first", "second")
_THOUGHT = re.compile(r"</?think(?:ing)?>|\[/?THINK\]|<\|channel\|>", re.IGNORECASE)


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
    reading: Literal["pattern", "prose"] = "pattern"
    """How strictly a verdict is read. ``pattern``: what `score_pattern` finds is the score, whatever surrounds it.
    ``prose``: the pattern is looked for in the verdict without its markup, and the words after a score may make it
    ambiguous, see `prose`."""
    scores: dict[str, FiniteFloat] = {}
    """The number of points for each grade, in any case; empty if the judge writes a number."""
    endings: tuple[str, ...] = ()
    """Every text that a verdict may end with if ``judge.constrained`` is set. Each contains a readable score."""
    reads: dict[str, FiniteFloat | None] = Field(default={}, exclude=True)
    """Examples: verdicts with their scores, None for a verdict that has none. They are checked when the rubric is
    loaded. They are no part of what identifies a step, since they change no score."""

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names of the template's placeholders, in the order of the arguments of `render`."""
        return _TWO_REPLIES if "{first}" in self.template else _ONE_REPLY

    @field_validator("score_pattern")
    @classmethod
    def _one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError(
                f"must have exactly one group, the score, but has {groups}; other groups are written (?:…)"
            )
        if repeats_a_repetition(pattern):
            raise ValueError(
                "repeats a repetition, as in (…+)*, and may take for ever on a long verdict; use one repetition, such "
                r"as [*\s]* in the place of (\*+\s*)*"
            )
        return pattern

    @field_validator("scores")
    @classmethod
    def _any_case(cls, scores: dict[str, float]) -> dict[str, float]:
        if len({grade.casefold() for grade in scores}) < len(scores):
            raise ValueError("two grades differ only in case")
        return scores

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
        self._check_examples()
        for ending in self.endings:
            if self.read_score("x" + ending) is None:
                raise ValueError(f"endings: no score can be read from a verdict that ends with {ending!r}")
        self._check_reach()
        return self

    def _check_placeholders(self) -> None:
        for name in {*_ONE_REPLY, *_TWO_REPLIES}.difference(self.placeholders):
            if f"{{{name}}}" in self.template:
                raise ValueError(f"template: {{{name}}} cannot be used together with {{{self.placeholders[1]}}}")
        for name in self.placeholders:
            enclosed = re.findall(rf"<(\w+)>\s*\{{{name}\}}\s*</\1>", self.template)
            if not enclosed or len(enclosed) != self.template.count(f"{{{name}}}"):
                raise ValueError(f"template: {{{name}}} must stand between tags, as in <text>{{{name}}}</text>")

    def _check_examples(self) -> None:
        for text, stated in self.reads.items():
            if thought := _THOUGHT.search(text):
                raise ValueError(
                    f"reads: the example {text!r} has a thought ({thought[0]}), which is removed before a verdict is "
                    "read; write the example without it"
                )
            score = self.read_score(text)
            if score != stated:
                raise ValueError(
                    f"reads: from the example {text!r} {_said(score)} is read, but {_said(stated)} is stated; correct "
                    "the example, score_pattern or reading"
                )

    def _check_reach(self) -> None:
        """Raise `ValueError` if no verdict is found that gives a grade, or one of the ends of the range.

        It is looked for among the examples and the endings with another score in the place of theirs, and among texts
        that `score_pattern` matches.
        """
        texts = [text for text, score in self.reads.items() if score is not None]
        texts += [f"x{ending}" for ending in self.endings]
        places = [(text, self._matches(text)[-1].span(1)) for text in texts]
        surroundings = [(text[:start], text[end:]) for text, (start, end) in places] + frames(self.score_pattern)
        for name, score in (self.scores or {"min_score": self.min_score, "max_score": self.max_score}).items():
            written = [name, name.lower(), name.upper()] if self.scores else _forms(score)
            verdicts = [f"{before}{form}{after}" for before, after in surroundings for form in written]
            if any(self.read_score(verdict) == score for verdict in verdicts):
                continue
            what = f"the grade {name}" if self.scores else f"{score:g}, the {name}"
            tried = f" (tried: {', '.join(map(repr, verdicts[:3]))})" if verdicts else ""
            without = ", in verdicts without markup such as **" if self.reading == "prose" else ""
            raise ValueError(
                f"score_pattern: no verdict is found that gives {what}{tried}; let its group find all scores from "
                f"min_score to max_score, each as a whole{without}, or state a verdict with its score in reads"
            )

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
        matches = self._matches(verdict)
        if not matches or not matches[-1][1]:
            return None
        if self.reading == "prose":
            score = prose_score(matches[-1], verdict, self.scores, self.max_score)
        else:
            score = pattern_score(matches, self.scores)
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

    def _matches(self, verdict: str) -> list[re.Match[str]]:
        """The matches of `score_pattern` that may be the score. Their places are those in `verdict`."""
        if self.reading == "pattern":
            return pattern_matches(self.score_pattern, verdict)
        return prose_matches(self.score_pattern, verdict, self.scores)

    def _escaped(self, text: str) -> str:
        text = escape_tags(text, set(re.findall(r"<(\w+)>", self.template)))
        searched, marks = (text, MARKS) if self.reading == "pattern" else (plain(text), ('"', '"'))
        return quote_scores(text, searched, self.score_pattern, lambda found: names_score(found, self.scores), marks)


def _forms(score: float) -> list[str]:
    """Ways to write a number: 4, 4.0, 4.00, 4,0, 04, 004, +4, and 4,000."""
    plainly = repr(score).removesuffix(".0")
    tenths, hundredths = f"{score:.1f}", f"{score:.2f}"
    return [
        plainly,
        tenths,
        hundredths,
        tenths.replace(".", ","),
        plainly.zfill(2),
        plainly.zfill(3),
        f"+{plainly}",
        f"{score:,.0f}",
    ]


def _said(score: float | None) -> str:
    return "no score" if score is None else f"{score:g}"


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
    except (YAMLError, UnicodeDecodeError) as error:
        raise RubricError(f"rubric {name_or_path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise RubricError(f"rubric {name_or_path} must be a mapping of fields: template, min_score, …")
    try:
        rubric = Rubric.model_validate({"name": path.stem, **values})
    except ValidationError as error:
        raise RubricError(f"rubric {name_or_path}: {'; '.join(map(_explain, error.errors()))}") from None
    if rubric.placeholders != placeholders:
        shown, needed = (
            " and ".join(f"{{{name}}}" for name in names[1:]) for names in (rubric.placeholders, placeholders)
        )
        raise RubricError(f"rubric {name_or_path} has the placeholders {shown}; a rubric with {needed} is needed here")
    return rubric


_WANTED = {
    "float": "must be a number",
    "finite_number": "must be a finite number",
    "string": "must be text; put it in quotation marks",
    "dict": "must be a mapping",
    "tuple": "must be a list",
    "literal_error": "must be pattern or prose",
    "invalid_key": "is no name of a field",
}
"""What a field must be, by the kind of error or its first word."""


def _explain(detail: Any) -> str:
    """A wrong field as text: its name, and what is wrong."""
    kind, location = detail["type"], [str(part) for part in detail["loc"] if part != "[key]"]
    if kind == "missing":
        return f"{location[0]} is missing"
    if kind == "extra_forbidden":
        known = [name for name in Rubric.model_fields if name != "name"]
        near = difflib.get_close_matches(location[0], known, n=1)
        return f"unknown field {location[0]}; {f'did you mean {near[0]}?' if near else 'known: ' + ', '.join(known)}"
    wanted = _WANTED.get(kind) or _WANTED.get(kind.partition("_")[0])
    message = f"{wanted} (got {detail['input']!r})" if wanted else detail["msg"].removeprefix("Value error, ")
    return ": ".join([*location, message])
