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
from selfreward_ray.models.architectures.parts import Family, Sizes, UnknownSize, shapes_of
from selfreward_ray.models.fields import wrong_fields
from selfreward_ray.models.fit import Shapes, is_computed, misfit
from selfreward_ray.models.found import Found
from selfreward_ray.models.headers import INDEX, Headers, differ, folder_headers, hub_headers
from selfreward_ray.models.json_files import chat_template, configuration, read_object
from selfreward_ray.models.kinds import no_language_model, own_tokenizer, quantized, unknown_type, untrainable
from selfreward_ray.models.lengths import head_fault, longest_training, split_fault, too_long
from selfreward_ray.models.light_tokenizer import LightTokenizer
from selfreward_ray.models.local import without_weights
from selfreward_ray.models.rendering import probe
from selfreward_ray.models.spelling import Speller
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
    if wrong := list(wrong_fields(model.config)):
        yield from wrong
        return
    headers = _headers(model.found)
    how = quantized(model.config, model.found.names, headers.types)
    if how and trained:
        yield f"its weights are quantized ({how}), and cannot be trained; name the model in bfloat16 or float32"
        return
    if trained and (problem := unknown_type(model.config)):
        yield problem
    yield from headers.faults
    if model.family is not None and not headers.faults and not how:
        yield from _weights(model.family, model, headers)
    if problem := own_tokenizer(model.tokenizer.settings):
        yield problem
    yield from _ids(model)
    yield from _generation(model)
    config = {**(model.family.defaults if model.family else {}), **model.config}
    try:
        if trained:
            longest = longest_training(recipe) if recipe else 1
            yield from (f"it cannot be trained here: it has {_remedied(why)}" for why in untrainable(config, longest))
        if recipe is not None:
            yield from too_long(config, recipe, trained, asked)
            if asked:
                yield from filter(None, (head_fault(config, recipe), split_fault(config, recipe)))
    except (ValueError, TypeError) as error:
        yield f"its config.json has a value of another type than is meant ({error}); copy it again"


def _remedied(reason: str) -> str:
    """A reason that an architecture cannot be trained; those that lie in sizes have their remedy."""
    return reason if "; " in reason else f"{reason}; name a model of another family (the manual's page Architectures)"


def _headers(model: Found) -> Headers:
    if "://" in model.uri or Path(model.uri).is_dir():
        return folder_headers(_folder(model))
    import huggingface_hub

    if huggingface_hub.is_offline_mode():  # what the hub's client has kept
        return folder_headers(_folder(model))
    index = (model.folder / INDEX).read_bytes() if INDEX in model.names else None
    return hub_headers(model.uri, model.names, index)


def _folder(model: Found) -> Folder:
    """Where the weights of a model are that is not only on the hub."""
    return Folder(model.uri if "://" in model.uri or Path(model.uri).is_dir() else str(model.folder))


def _weights(family: Family, model: _Model, headers: Headers) -> Iterator[str]:
    """Problems of the weights: those that are missing, left over, of another shape, or have names without a prefix, and
    an output head that is stored and not used."""
    config = model.config
    try:
        needed = shapes_of(family, config)
    except UnknownSize as error:
        yield f"{error}, which its architecture {config['model_type']} needs; copy the file that save_pretrained wrote"
        return
    stored = {_named(name, family, needed): name for name in headers.shapes}
    found = {name: headers.shapes[own] for name, own in stored.items()}
    head, table = f"{family.head}.weight", next(iter(family.beside(Sizes({**family.defaults, **config}))))
    unused = {head: needed[table]} if head not in needed else {}  # the embeddings are the head
    left_over = {name for name in found.keys() - needed.keys() if not _is_unused(name, family, config)}
    shapes = {
        name: (found[name], shape) for name, shape in (needed | unused).items() if found.get(name, shape) != shape
    }
    if problem := misfit(needed.keys() - found.keys(), left_over, shapes):
        yield problem
    elif unused and head in stored and differ(_folder(model.found), headers, stored[head], stored[table]):
        yield (
            f"its config.json has tie_word_embeddings true, but its {head} has other values than its {table}, so that "
            f"training and vLLM may use different ones; set tie_word_embeddings to false, or remove {head}"
        )


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
    settings = model.tokenizer.settings
    template = chat_template(model.found.folder, model.found.uri, settings) or ""
    used = [settings.get(name) for name in ("eos_token", "bos_token") if name == "eos_token" or name in template]
    return json.dumps(used, ensure_ascii=False) + template


def _generation(model: _Model) -> Iterator[str]:
    """Problems of the ids at which vLLM ends replies: an ordinary word of the vocabulary would cut them."""
    found = model.found
    listed = read_object(found.folder, found.uri, "generation_config.json").get("eos_token_id")
    for number in listed if isinstance(listed, list) else [listed] * (listed is not None):
        word = model.tokenizer.vocabulary.words.get(number) if isinstance(number, int) else None
        if not isinstance(number, int) or isinstance(number, bool):
            yield (
                f"its generation_config.json has eos_token_id {number!r}, which is no id; name the id of its end token"
            )
        elif word is not None:
            yield (
                f"its generation_config.json has eos_token_id {number}, the ordinary token {word!r}, at which vLLM "
                "would cut replies; name the ids of its end tokens alone"
            )


def _template(model: _Model, recipe: Recipe | None, asked: Collection[str]) -> Iterator[str]:
    """Problems of the chat template, with the model's name: it must do for a conversation of two turns what `ChatCodec`
    asks of it, and have a switch for thinking where `recipe` turns it on or off."""
    fields = [f"{name}.thinking" for name in sorted(asked) if recipe and getattr(recipe, name).thinking is not None]
    try:
        template = ChatTemplate(model.found.uri, model.tokenizer)
        probe(model.found.uri, template, Speller(model.tokenizer), model.tokenizer.eos_token)
        if fields:
            template.require_switch(fields)
    except UserError as error:
        yield str(error)
