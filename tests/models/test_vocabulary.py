"""Ids that a model's tokenizer gives and its engine stops at, told from its files alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_files import ADDED, LLAMA, write_model, write_tokenizer
from tiny_model import CHATML

from selfreward_ray.models.validate import validate


def problems(folder: Path) -> list[str]:
    """Without the model's name, with which each begins."""
    return [problem.removeprefix(f"model '{folder}': ") for problem in validate(str(folder))]


@pytest.mark.parametrize(
    ("tokens", "added", "said"),
    [
        (38, ADDED, ""),
        (
            39,
            ADDED,
            "its tokenizer gives '<|im_end|>' the id 40, and it has embeddings for 40 ids; call resize_token_em",
        ),
        (
            41,
            (),
            "its tokenizer gives 't40' the id 40, and it has embeddings for 40 ids; call resize_token_embeddings(41)",
        ),
        # A special token that no template names is never written: Gemma 3's text models have one of images.
        (37, (*ADDED[:1], "<image>", "<more>", ADDED[1]), "its tokenizer gives '<|im_end|>' the id 40"),
        (38, ("<|im_start|>", "<|im_end|>", "<image>"), ""),
    ],
)
def test_every_id_of_the_tokenizer_has_an_embedding(tmp_path: Path, tokens: int, added: tuple[str, ...], said: str):
    folder = write_model(tmp_path / "m")
    write_tokenizer(folder, tokens, added)
    found = problems(folder)
    assert len(found) == bool(said)
    assert all(problem.startswith(said) for problem in found)


GIVES = "its tokenizer gives "
NONE = "a token in its tokenizer_config.json is none ("
NAMED: dict[str, tuple[dict[str, Any], str]] = {
    "end token": ({"eos_token": "<|end|>"}, GIVES + "'<|end|>' the id 40, and it"),
    "described": ({"eos_token": {"content": "<|end|>", "lstrip": True}}, GIVES + "'<|end|>' the id 40"),
    "used by the template": ({"extra_special_tokens": ["<|a|>", "<|b|>"]}, GIVES + "'<|b|>' the id 41"),
    "by the name of earlier versions": ({"additional_special_tokens": ["<|b|>"]}, GIVES + "'<|b|>' the id 40"),
    "by name": ({"extra_special_tokens": {"ask_token": "<|b|>"}}, GIVES + "'<|b|>' the id 40"),
    "there already": ({"eos_token": "<|im_end|>", "bos_token": "t3", "extra_special_tokens": ["<|im_start|>"]}, ""),
    "not used": ({"pad_token": "<pad>", "bos_token": "<s>", "extra_special_tokens": ["<image>"]}, ""),
    "a number": ({"eos_token": 5}, NONE + "5 has no text); save it again with"),
    "a list": ({"eos_token": ["a"]}, NONE + "['a'] has no text); save it again"),
    "an id that is none": ({"added_tokens_decoder": {"x": {"content": "a"}}}, NONE),
    "a text for a description": ({"added_tokens_decoder": {"5": 7}}, NONE + "7 "),
    "no ids at all": ({"added_tokens_decoder": ["a"]}, NONE),
    "code of its own": (
        {"tokenizer_class": "FooTokenizer", "auto_map": {"AutoTokenizer": ["x.Foo", None]}},
        "its tokenizer needs code of its own (tokenizer_class 'FooTokenizer'), which is not run here; remove auto_map",
    ),
    "code of its own that is not needed": (
        {"tokenizer_class": "LlamaTokenizerFast", "auto_map": {"AutoTokenizer": ["x", None]}}, ""
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_tokens_that_only_the_settings_name_have_ids_too(tmp_path: Path, name: str):
    """transformers gives them the next ids, in the order in which the settings name them."""
    changes, said = NAMED[name]
    folder = write_model(tmp_path / "m")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    (folder / "chat_template.jinja").write_text("{% if false %}<|b|>{% endif %}" + CHATML)
    found = problems(folder)
    assert len(found) == bool(said)
    assert all(problem.startswith(said) for problem in found)


def test_a_token_may_stand_in_the_files_of_two_versions(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    (folder / "added_tokens.json").write_text(json.dumps({ADDED[1]: 39, ADDED[0]: 38}))
    path = folder / "tokenizer_config.json"
    described = {str(38 + n): {"content": token, "special": True} for n, token in enumerate(ADDED)}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added_tokens_decoder": described}))
    assert problems(folder) == []


TOKENIZERS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "empty": (lambda t: t.clear(), "cannot be loaded (Model missing"),
    "a list": (lambda t: t["model"].update(vocab=[["a", 0.1]]), "cannot be loaded (invalid type: seq"),
    "ids as texts": (lambda t: t["model"].update(vocab={"t0": "0"}), "cannot be loaded (invalid type"),
    "a merge of others": (lambda t: t["model"].update(merges=["q zz"]), "cannot be loaded (Token `q`"),
    "a kind": (lambda t: t["model"].update(type="Foo"), "cannot be loaded (data did not match"),
    "a token without a text": (lambda t: t.update(added_tokens=[{"id": 5}]), "cannot be loaded ("),
    "no letters": (lambda t: t["model"].update(unk_token=None), "gives no ids for 'a'; save it again"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_cannot_be_used_is_named(tmp_path: Path, name: str):
    change, said = TOKENIZERS[name]
    folder = write_model(tmp_path / "m")
    content = json.loads((folder / "tokenizer.json").read_text())
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (problem,) = problems(folder)
    assert problem.startswith(f"its tokenizer.json {said}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", ""),
        ('{"eos_token_id": null}', ""),
        ('{"eos_token_id": 39}', ""),
        ('{"eos_token_id": [38, 39, 999]}', ""),
        (
            '{"eos_token_id": [39, 7]}',
            "its generation_config.json has eos_token_id 7, the ordinary token 't7', at which",
        ),
        ('{"eos_token_id": "39"}', "its generation_config.json has eos_token_id '39', which is no id; name the id of"),
        ("[]", "its generation_config.json is not a JSON object; copy it again"),
        ("{", "its generation_config.json is not JSON ("),
    ],
)
def test_replies_end_at_no_ordinary_word(tmp_path: Path, content: str, said: str):
    folder = write_model(tmp_path / "m")
    (folder / "generation_config.json").write_text(content)
    found = problems(folder)
    assert len(found) == bool(said)
    assert all(problem.startswith(said) for problem in found)


@pytest.mark.parametrize(("padding", "said"), [(40, 1), (39, 0), (-1, 0), (None, 0)])
def test_the_padding_token_has_an_embedding(tmp_path: Path, padding: int | None, said: int):
    found = problems(write_model(tmp_path / "m", LLAMA | {"pad_token_id": padding}))
    assert found == ["its config.json has pad_token_id 40, and it has embeddings for 40 ids; set it to null"][:said]


def test_a_damaged_tokenizer_is_named(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    (folder / "tokenizer.json").write_text("{")
    (problem,) = problems(folder)
    assert problem.startswith("its tokenizer.json cannot be loaded (EOF")
