"""Which files of a data set's folder are which split, by the rules of the hub.

The head of ``README.md`` decides. Without one the names of folders and files do: ``data/train-00000-of-00002.parquet``,
``test/a.jsonl``, ``questions_dev.csv``. A data set may have several configurations, each with splits of its own.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from yaml import YAMLError

from selfreward_ray.errors import UserError
from selfreward_ray.yaml_text import load_yaml

_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "validate", "valid", "dev", "devel", "development", "val"), "validation"),
    **dict.fromkeys(("test", "tests", "testing", "tst"), "test"),
    **dict.fromkeys(("eval", "evals", "evaluation", "holdout", "heldout"), "test"),
}
_WORDS |= {f"{word}{end}": split for word, split in _WORDS.items() for end in ("set", "data", "split")}
_SEPARATORS = re.compile(r"[-._ =0-9]+")
_SHARD = re.compile(r"(?P<split>\w+(?:\.\w+)*)-\d{5}-of-\d{5}.*", re.ASCII)
_COLUMN = re.compile(r"(split|subset|partition)=", re.IGNORECASE)
_HEAD = re.compile(r"\A\ufeff?---[ \t\r]*\n(.*?)^---[ \t\r]*$", re.DOTALL | re.MULTILINE)
_MAGIC = re.compile(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])")


@dataclass(frozen=True)
class Splits:
    """The files of each split, by the configuration's name and the split's.

    A name or pattern of a card that no file has stands among them for itself.
    """

    configs: Mapping[str, Mapping[str, Sequence[str]]]
    default: str | None
    """The configuration that a split's name alone refers to; None if it must be named."""
    apart: Sequence[str] = ()
    """Files whose names tell no split, beside others whose names do."""

    def names(self) -> list[str]:
        """The names by which `files` finds the splits, sorted: ``train``, or ``config/train`` if there are several
        configurations."""
        several = len(self.configs) > 1
        return sorted(f"{c}/{split}" if several else split for c, splits in self.configs.items() for split in splits)

    def files(self, wanted: str | None) -> Sequence[str] | None:
        """The files of the split `wanted`, or of the only one if it is None. None if there is no such split."""
        if wanted is None:
            every = [files for splits in self.configs.values() for files in splits.values()]
            return every[0] if len(every) == 1 else None
        config, slash, split = wanted.rpartition("/")
        chosen = config if slash else self.default
        return None if chosen is None else self.configs.get(chosen, {}).get(split)

    def below(self, folder: str, files: Sequence[str]) -> "Splits":
        """The splits of the `files` of a folder below, given and named relative to it. Others are left out."""
        known = {f"{folder}{file}": file for file in files}
        parts = {
            config: {
                split: inside for split, names in splits.items() if (inside := [known[n] for n in names if n in known])
            }
            for config, splits in self.configs.items()
        }
        configs = {config: splits for config, splits in parts.items() if splits}
        told = {file for splits in configs.values() for inside in splits.values() for file in inside}
        default = next(iter(configs)) if len(configs) == 1 else self.default
        return Splits(configs, default, [file for file in files if file not in told])


def split_remedy(field: str) -> str:
    """The remedy where the source in `field`, of the recipe or of a command, has several splits."""
    section, found, _ = field.partition(".source")
    return f"set {section}.split to one of them" if found else "name the files or the folder of one of them"


def splits_by_name(files: Iterable[str]) -> Splits:
    """The splits that the names of `files`, relative to the folder, tell; none if no name does."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    apart: list[str] = []
    for file in files:
        split = _split_of(PurePosixPath(file))
        (apart if split is None else found[split]).append(file)
    return Splits({"": dict(found)}, "", apart)


def splits_of_card(card: str, files: Sequence[str]) -> Splits | None:
    """The splits that the head of the data set's card, ``README.md``, names; None if it names none.

    Raises `UserError` if they cannot be read.
    """
    configs = _configs(card)
    if not configs:
        return None
    marked = [config.config_name for config in configs if config.default or config.config_name == "default"]
    only = [config.config_name for config in configs] if len(configs) == 1 else []
    return Splits({config.config_name: config.splits(files) for config in configs}, next(iter(marked + only), None))


class _Part(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    split: str
    path: str | list[str]


class _Config(BaseModel):
    """A configuration in the words of the card."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    config_name: str = "default"
    data_files: str | list[str] | list[_Part] | dict[str, str | list[str]] | None = None
    data_dir: str = ""
    default: bool = False

    def splits(self, files: Sequence[str]) -> dict[str, list[str]]:
        below = PurePosixPath(self.data_dir).as_posix().removeprefix("/")
        prefix = "" if below in (".", "") else f"{below}/"
        inside = [file.removeprefix(prefix) for file in files if file.startswith(prefix)]
        if self.data_files is None:
            told = splits_by_name(inside).configs[""] or {"train": inside}
        else:
            told = {split: _named(inside, given) for split, given in self._patterns().items()}
        return {split: [prefix + file for file in found] for split, found in told.items()}

    def _patterns(self) -> dict[str, list[str]]:
        given = self.data_files
        if isinstance(given, str):
            return {"train": [given]}
        if isinstance(given, dict):
            return {split: _listed(paths) for split, paths in given.items()}
        parts: list[str | _Part] = [*(given or ())]
        named = {part.split: _listed(part.path) for part in parts if isinstance(part, _Part)}
        return named or {"train": [part for part in parts if isinstance(part, str)]}


def _configs(card: str) -> list[_Config]:
    head = _HEAD.match(card)
    if head is None or "configs" not in head[1]:
        return []
    try:
        fields = load_yaml(head[1])
        configs = fields.get("configs") if isinstance(fields, dict) else None
        return TypeAdapter(list[_Config]).validate_python(configs or [])
    except ValidationError as error:
        place = ".".join(map(str, ("configs", *error.errors()[0]["loc"][:2])))
        raise UserError(f"README.md: {place} of its head cannot be read; correct it, or name the files") from None
    except YAMLError as error:
        raise UserError(f"README.md: its head is not valid YAML ({error}); correct it, or name the files") from None


def _named(files: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The files that have one of the patterns, in their order; and each pattern that no file has."""
    expressions = {given: _pattern(given) for given in patterns}
    found = [file for file in files if any(each.fullmatch(file) for each in expressions.values())]
    return found + [given for given, each in expressions.items() if not any(map(each.fullmatch, files))]


def _listed(paths: str | list[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else paths


def _split_of(file: PurePosixPath) -> str | None:
    """The innermost name decides that tells a split, but a folder's before a file's."""
    shard = _SHARD.fullmatch(file.name)
    if shard and (file.parent.name == "data" or _told([shard["split"]])):
        return shard["split"]
    # A folder such as lang=en or source=test_bank holds a value of another column.
    folders = [name for name in file.parent.parts if _COLUMN.match(name) or "=" not in name]
    return _told(reversed(folders)) or _told([file.name])


def split_told_by(name: str) -> str | None:
    """The split (``train``, ``validation`` or ``test``) that a word of a name tells: ``my_dev-2`` is ``validation``."""
    words = _SEPARATORS.split(name.lower().replace("held_out", "heldout").replace("held-out", "heldout"))
    return next((_WORDS[word] for word in words if word in _WORDS), None)


def _told(names: Iterable[str]) -> str | None:
    return next((split for name in names if (split := split_told_by(name))), None)


def _pattern(given: str) -> re.Pattern[str]:
    """The expression of a pattern of paths: ``*`` stays within a folder, ``**`` does not."""
    translated = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

    def part(text: str) -> str:
        if text.startswith("[") and _MAGIC.fullmatch(text):
            return f"[^{text[2:]}" if text[1] == "!" else text
        return translated.get(text) or re.escape(text)

    return re.compile("".join(map(part, _MAGIC.split(given.removeprefix("./")))))
