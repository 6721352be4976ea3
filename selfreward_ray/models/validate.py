"""Whether a model can be trained and asked as a recipe wants, from its configuration and the headers of its weights.

Nothing heavier is imported than the storage's client, and no weight is read, so that a model of any size takes about a
second.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.architectures import FAMILIES
from selfreward_ray.models.architectures.parts import Family, UnknownSize, shapes_of
from selfreward_ray.models.fit import Shapes, is_computed, misfit
from selfreward_ray.models.found import Found
from selfreward_ray.models.headers import INDEX, Headers, folder_headers, hub_headers
from selfreward_ray.models.json_files import configuration
from selfreward_ray.models.kinds import no_language_model, quantized, untrainable
from selfreward_ray.models.lengths import head_fault, longest_training, too_long
from selfreward_ray.models.light_tokenizer import LightTokenizer
from selfreward_ray.models.local import without_weights
from selfreward_ray.models.spelling import PRIVATE
from selfreward_ray.models.template import ChatTemplate
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.folder import Folder

ASKED = ("prompts", "respond", "judge")
"""Sections of a recipe whose sampling may be asked of a model."""


def validate(
    uri: str, recipe: Recipe | None = None, *, trained: bool = True, asked: Collection[str] = ASKED
) -> list[str]:
    """What keeps the model `uri` from being used: each problem names the model and the remedy; empty if there is none.

    `trained` says whether it is trained; `asked` are the sections of `recipe` that sample from it. Without a recipe no
    lengths are checked. A LoRA adapter cannot be trained; of one that is asked, the base model is validated. Weights of
    architectures that are not in `FAMILIES` are not compared; training compares them before its first step. Raises
    `OSError` for storage that does not answer.
    """
    try:
        found = without_weights(uri, adapters=not trained)
        model = _Model(found, configuration(found.folder, found.uri), LightTokenizer(found.folder, found.uri))
        problems = [f"model {found.uri!r}: {problem}" for problem in _problems(model, recipe, trained, asked)]
        return problems + list(_template(model, recipe, asked))
    except UserError as error:
        return [str(error)]


@dataclass(frozen=True)
class _Model:
    """What is known of a model without its weights."""

    found: Found
    config: dict[str, Any]
    tokenizer: LightTokenizer

    @cached_property
    def family(self) -> Family | None:
        return FAMILIES.get(str(self.config["model_type"]))


def _problems(model: _Model, recipe: Recipe | None, trained: bool, asked: Collection[str]) -> Iterator[str]:
    if problem := no_language_model(model.config):
        yield problem
        return
    headers = _headers(model.found)
    how = quantized(model.config, model.found.names, headers.types)
    if how and trained:
        yield f"its weights are quantized ({how}), and cannot be trained; name the model in bfloat16 or float32"
        return
    yield from headers.faults
    if model.family is not None and not headers.faults and not how:
        yield from _weights(model.family, model.config, headers.shapes)
    yield from _ids(model)
    config = {**(model.family.defaults if model.family else {}), **model.config}
    try:
        if trained:
            longest = longest_training(recipe) if recipe else 1
            yield from (f"it cannot be trained here: it has {_remedied(why)}" for why in untrainable(config, longest))
        if recipe is not None:
            yield from too_long(config, recipe, trained, asked)
            if asked and (problem := head_fault(config, recipe)):
                yield problem
    except (ValueError, TypeError) as error:
        yield f"its config.json has a value of another type than is meant ({error}); copy it again"


def _remedied(reason: str) -> str:
    """A reason that an architecture cannot be trained; those that lie in sizes have their remedy."""
    return reason if "; " in reason else f"{reason}; name a model of another family (the manual's page Architectures)"


def _headers(model: Found) -> Headers:
    if "://" in model.uri or Path(model.uri).is_dir():
        return folder_headers(Folder(model.uri))
    import huggingface_hub

    if huggingface_hub.is_offline_mode():  # what the hub's client has kept
        return folder_headers(Folder(str(model.folder)))
    index = (model.folder / INDEX).read_bytes() if INDEX in model.names else None
    return hub_headers(model.uri, model.names, index)


def _weights(family: Family, config: Mapping[str, Any], stored: Shapes) -> Iterator[str]:
    """Problems of the weights: those that are missing, left over, of another shape, or have names without a prefix."""
    try:
        needed = shapes_of(family, config)
    except UnknownSize as error:
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


def _ids(model: _Model) -> Iterator[str]:
    """Problems of ids that the tokenizer gives and the embeddings do not have."""
    rows, padding = model.config.get("vocab_size"), model.config.get("pad_token_id")
    if not isinstance(rows, int):
        return
    if isinstance(padding, int) and padding >= rows:
        yield f"its config.json has pad_token_id {padding}, and it has embeddings for {rows} ids; set it to null"
    if beyond := model.tokenizer.vocabulary.beyond(rows, _texts(model)):
        number, token = beyond
        yield (
            f"its tokenizer gives {token!r} the id {number}, and it has embeddings for {rows} ids; call "
            f"resize_token_embeddings({number + 1}) and save it again, or remove the token"
        )


def _texts(model: _Model) -> str:
    """Texts that name the special tokens that are used."""
    file = model.found.folder / "chat_template.jinja"
    used = [model.tokenizer.settings.get(key) for key in ("chat_template", "eos_token", "bos_token")]
    return json.dumps(used, ensure_ascii=False) + (file.read_text(encoding="utf-8") if file.is_file() else "")


def _template(model: _Model, recipe: Recipe | None, asked: Collection[str]) -> Iterator[str]:
    """Problems of the chat template, with the model's name: it must show a conversation of two turns, and have a switch
    for thinking where `recipe` turns it on or off."""
    asking = [{"role": "user", "content": "a"}]
    fields = [f"{name}.thinking" for name in sorted(asked) if recipe and getattr(recipe, name).thinking is not None]
    try:
        template = ChatTemplate(model.found.uri, model.tokenizer)
        template.render(asking, prompt=True)
        template.around_reply(asking, chr(PRIVATE.start))
        if fields:
            template.require_switch(fields)
    except UserError as error:
        yield str(error)
