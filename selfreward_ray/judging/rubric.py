"""A rubric: how the judge is asked, and how the score of its verdict is read (paper, section 2.2, figure 2)."""

import re
from importlib import resources
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, field_validator, model_validator

from selfreward_ray.errors import UserError

_PACKAGED = resources.files(__package__) / "rubrics"

# What may stand between a score and its denominator: spaces and closing markup, as in "**4** / 5" or "<4>/5".
_DENOMINATOR = re.compile(r"[ \t*_`>)\]]*(?:/|(?:out )?of\b)[ \t*_`<(\[]*(\d+(?:\.\d+)?)?", re.IGNORECASE)
# What shows that the number was only a part of something else: "4th", "4,5", "4%", "4-5", "1+1", "3 or 4".
_RUNS_ON = re.compile(r"[^\W_]|[.,]\d|[ \t]*%|[ \t*_`>)\]]*(?:[-–+=×*/]|to\b|or\b)[ \t]*\d", re.IGNORECASE)


class RubricError(UserError):
    """A rubric that can not be used; the message names the file and the field."""


class Rubric(BaseModel):
    """One rubric file; `name` is the file's stem. In `template` the prompt and the reply each stand between tags."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    template: str
    min_score: FiniteFloat
    max_score: FiniteFloat
    score_pattern: str
    """Finds a score in a verdict; its one group is the number."""

    @field_validator("template")
    @classmethod
    def _placeholders_between_tags(cls, template: str) -> str:
        for placeholder in ("{prompt}", "{reply}"):
            enclosed = re.findall(rf"<(\w+)>\s*{re.escape(placeholder)}\s*</\1>", template)
            if not enclosed or len(enclosed) != template.count(placeholder):
                raise ValueError(f"{placeholder} must stand between tags, as in <text>{placeholder}</text>")
        return template

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

    @model_validator(mode="after")
    def _ordered(self) -> "Rubric":
        if self.min_score >= self.max_score:
            raise ValueError(f"min_score {self.min_score:g} must be below max_score {self.max_score:g}")
        return self

    def render(self, prompt: str, reply: str) -> str:
        """The judge's question. Nothing inside `prompt` or `reply` is expanded or can close the template's tags."""
        texts = {"prompt": self._defused(prompt), "reply": self._defused(reply)}
        # One pass: a "{reply}" inside the prompt stays as it is.
        return re.sub(r"\{(prompt|reply)\}", lambda match: texts[match[1]], self.template)

    def read_score(self, verdict: str) -> float | None:
        """The last score of `verdict`; None when there is none, or when it is doubtful or out of range.

        ``4/5`` and ``4 out of 5`` are read when 5 is `max_score`.
        """
        found = list(re.finditer(self.score_pattern, verdict))
        if not found:
            return None
        rest = verdict[found[-1].end(1) :]
        if denominator := _DENOMINATOR.match(rest):
            if denominator[1] is None or float(denominator[1]) != self.max_score:
                return None
            rest = rest[denominator.end() :]
        if _RUNS_ON.match(rest):
            return None
        try:
            score = float(found[-1][1])
        except (TypeError, ValueError):
            return None
        return score if self.min_score <= score <= self.max_score else None

    def _defused(self, text: str) -> str:
        # "</reply>", "< / REPLY" and the like become "&lt;/reply>": plain to a reader, but no longer the tag.
        names = "|".join(set(re.findall(r"<(\w+)>", self.template)))
        return re.sub(rf"<(?=[^\w<>]*(?:{names})\b)", "&lt;", text, flags=re.IGNORECASE)


def load_rubric(name_or_path: str) -> Rubric:
    """The packaged rubric of that name, or the rubric of a YAML file. Raises `RubricError`."""
    packaged = {file.name.removesuffix(".yaml"): file for file in _PACKAGED.iterdir()}
    path = Path(name_or_path)
    if name_or_path not in packaged and path.suffix not in {".yaml", ".yml"}:
        known = ", ".join(sorted(packaged))
        raise RubricError(f"unknown rubric {name_or_path!r}; packaged: {known}; or give the path of a .yaml file")
    try:
        values = yaml.safe_load(packaged.get(name_or_path, path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RubricError(f"can not read rubric {name_or_path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise RubricError(f"rubric {name_or_path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise RubricError(f"rubric {name_or_path} must hold a mapping of fields: template, min_score, …")
    try:
        return Rubric.model_validate({"name": path.stem, **values})
    except ValidationError as error:
        lines = [_explain(detail["loc"], detail["msg"]) for detail in error.errors()]
        raise RubricError(f"rubric {name_or_path}: {'; '.join(lines)}") from None


def _explain(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return ": ".join([*map(str, location), message])
