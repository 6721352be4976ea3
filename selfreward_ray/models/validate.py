"""Whether a model can be trained and asked as a recipe wants, from its configuration and the headers of its weights.

Nothing heavier is imported than the storage's client, and no weight is read, so that a model of any size takes about a
second.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.architectures import FAMILIES
from selfreward_ray.models.architectures.parts import Family, Untold, shapes_of
from selfreward_ray.models.fit import Shapes, is_computed, misfit
from selfreward_ray.models.headers import INDEX, Headers, folder_headers, hub_headers
from selfreward_ray.models.kinds import no_language_model, quantized, untrainable
from selfreward_ray.models.lengths import longest_training, too_long
from selfreward_ray.models.local import without_weights
from selfreward_ray.models.vocabulary import read_vocabulary
from selfreward_ray.recipe.endpoint import is_endpoint
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.identity import ADAPTER_CONFIG

ASKED = ("prompts", "respond", "judge")
"""Sections of a recipe whose sampling may be asked of a model."""


def validate(
    uri: str, recipe: Recipe | None = None, *, trained: bool = True, asked: Collection[str] = ASKED
) -> list[str]:
    """What keeps the model `uri` from being used: each problem names the model and the remedy; empty if there is none.

    `trained` says whether it is trained; `asked` are the sections of `recipe` that sample from it. Without a recipe no
    lengths are checked. Of an endpoint nothing is known, and of a LoRA adapter only that it is there. Weights of
    architectures that are not in `FAMILIES` are not compared; training compares them before its first step. Raises
    `OSError` for storage that does not answer.
    """
    if is_endpoint(uri):
        return []
    try:
        folder, names = without_weights(uri)
        if ADAPTER_CONFIG in names:
            return []
        config = _configuration(folder)
        return [
            f"model {uri!r}: {problem}" for problem in _problems(uri, folder, names, config, recipe, trained, asked)
        ]
    except _Faulty as error:
        return [f"model {uri!r}: {error}"]
    except UserError as error:
        return [str(error)]


class _Faulty(UserError):
    """A fault that ends the check, without the model's name."""


def _problems(
    uri: str,
    folder: Path,
    names: frozenset[str],
    config: dict[str, Any],
    recipe: Recipe | None,
    trained: bool,
    asked: Collection[str],
) -> Iterator[str]:
    if problem := no_language_model(config):
        yield problem
        return
    headers = _headers(uri, folder, names)
    if problem := quantized(config, names, headers.types):
        if trained:
            yield problem
        return  # its tensors are those of the program that quantized it
    yield from headers.faults
    family = FAMILIES.get(str(config["model_type"]))
    if family is not None and not headers.faults:
        yield from _weights(family, config, headers.shapes)
    config = {**(family.defaults if family else {}), **config}
    if trained:
        longest = longest_training(recipe) if recipe else 1
        yield from (f"it cannot be trained here: it has {reason}" for reason in untrainable(config, longest))
    yield from _ids(folder, config)
    if recipe is not None:
        yield from too_long(config, recipe, trained, asked)


def _configuration(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise _Faulty(f"its config.json is not JSON ({error}); copy it again") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise _Faulty("its config.json has no model_type; copy the one that save_pretrained wrote")
    return config


def _headers(uri: str, folder: Path, names: frozenset[str]) -> Headers:
    if "://" in uri or Path(uri).is_dir():
        return folder_headers(Folder(uri))
    import huggingface_hub

    if huggingface_hub.is_offline_mode():  # what the hub's client has kept
        return folder_headers(Folder(str(folder)))
    index = (folder / INDEX).read_bytes() if INDEX in names else None
    return hub_headers(uri, names, index)


def _weights(family: Family, config: Mapping[str, Any], stored: Shapes) -> Iterator[str]:
    """Problems of the weights: those that are missing, left over, of another shape, or have names without a prefix."""
    try:
        needed = shapes_of(family, config)
    except Untold as error:
        yield f"{error}, which its architecture {config['model_type']} needs; copy the file that save_pretrained wrote"
        return
    found = {_named(name, family, needed): shape for name, shape in stored.items()}
    left_over = {name for name in found.keys() - needed.keys() if not _is_unused(name, family, config)}
    shapes = {name: (found[name], needed[name]) for name in found.keys() & needed.keys() if found[name] != needed[name]}
    if problem := misfit(needed.keys() - found.keys(), left_over, shapes):
        yield problem


def _named(name: str, family: Family, needed: Shapes) -> str:
    full = f"{family.bare}.{name}"
    return full if name not in needed and full in needed else name


def _is_unused(name: str, family: Family, config: Mapping[str, Any]) -> bool:
    """Whether a tensor without a place does no harm: a buffer, a tied head, or a layer that predicts further tokens."""
    if is_computed(name) or name == f"{family.head}.weight":
        return True
    rest = name.removeprefix(f"{family.layers}.")
    number = rest.partition(".")[0]
    return family.extra_layers and rest != name and number.isdigit() and int(number) >= int(config[family.count])


def _ids(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Problems of ids that the tokenizer gives and the embeddings do not have."""
    rows = config.get("vocab_size")
    if not isinstance(rows, int):
        return
    try:
        vocabulary = read_vocabulary(folder)
    except UserError as error:
        yield str(error)
        return
    if beyond := vocabulary.beyond(rows, _texts(folder)):
        number, token = beyond
        yield (
            f"its tokenizer gives {token!r} the id {number}, and it has embeddings for {rows} ids; call "
            f"resize_token_embeddings({number + 1}) and save it again, or remove the token"
        )


def _texts(folder: Path) -> str:
    """Texts that may name special tokens: the chat template and the tokenizer's settings of them."""
    read = []
    for name in ("chat_template.jinja", "tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if not path.is_file():
            continue
        if path.suffix == ".jinja":
            read.append(path.read_text(encoding="utf-8"))
            continue
        settings = json.loads(path.read_text(encoding="utf-8"))
        read += [
            json.dumps(settings.get(key), ensure_ascii=False) for key in ("chat_template", "eos_token", "bos_token")
        ]
    return "\n".join(read)
