from typing import Any

import pytest

from selfreward_ray.recipe.schema import Inference
from selfreward_ray.recipe.text import RecipeError, parse_recipe

LEAST = {"model": "m0"}


@pytest.mark.parametrize(
    ("field", "figure"),
    [
        ("seed_data.ift", 3200),
        ("seed_data.eft", 1630),
        ("prompts.seed_demonstrations", 6),
        ("prompts.new_demonstrations", 2),
        ("prompts.sampling.temperature", 0.6),
        ("prompts.sampling.top_p", 0.9),
        ("prompts.max_rouge_l", 0.7),
        ("respond.candidates", 4),
        ("respond.sampling.temperature", 0.7),
        ("respond.sampling.top_p", 0.9),
        ("judge.rubric", "additive"),
        ("judge.verdicts", 3),
        ("judge.sampling.temperature", 0.7),
        ("judge.sampling.top_p", 0.9),
        ("prompts.filters", "self-instruct"),
        ("pairs.policy", "best-worst"),
        ("sft.learning_rate", 5.5e-6),
        ("sft.final_learning_rate", 1.1e-6),
        ("sft.schedule", "cosine"),
        ("sft.batch_size", 16),
        ("dpo.learning_rate", 1e-6),
        ("dpo.final_learning_rate", 1e-7),
        ("dpo.batch_size", 16),
        ("dpo.beta", 0.1),
        ("iterations", 2),
    ],
)
def test_a_default_is_the_papers_figure(field: str, figure: object):
    value: Any = parse_recipe(LEAST)
    for name in field.split("."):
        value = getattr(value, name)
    assert value == figure


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modle": "x"}, "unknown recipe field 'modle'; did you mean 'model'?"),
        ({"dpo": {"betta": 1}}, "unknown recipe field 'dpo.betta'; did you mean 'dpo.beta'?"),
        (
            {"judge": {"sampling": {"temprature": 1}}},
            "unknown recipe field 'judge.sampling.temprature'; did you mean 'judge.sampling.temperature'?",
        ),
        ({"pairs": {"zzz": 1}}, "unknown recipe field 'pairs.zzz'; known: band, constant_share, flags, label_words"),
        ({"pairs": {"flags": ["blank"]}}, "recipe field 'pairs.flags.0': must be 'empty', 'opening'"),
        (
            {"pairs": {"labels": [True, False]}},
            "recipe field 'pairs.labels': labels are texts; quote those that YAML reads as something else, such as",
        ),
        (
            {"prompts": {"filters": "minimum"}},
            "recipe field 'prompts.filters': must be self-instruct, minimal, or a list of length, capability, program,",
        ),
        (
            {"prompts": {"filters": ["length", "plot"]}},
            "recipe field 'prompts.filters': must be self-instruct, minimal",
        ),
        (
            {"dpo": {"eft_weight": 0.5}, "seed_data": {"eft": 0}},
            "recipe field 'recipe': dpo.eft_weight needs EFT rows, but seed_data.eft is 0",
        ),
        ({"dpo": {"beta": -1}}, "recipe field 'dpo.beta': must be greater than 0 (got -1)"),
        ({"dpo": {"beta": float("inf")}}, "recipe field 'dpo.beta'"),
        ({"respond": {"sampling": {"top_p": 1.5}}}, "recipe field 'respond.sampling.top_p'"),
        ({"iterations": "two"}, "recipe field 'iterations'"),
        ({"pairs": {"policy": "worst-best"}}, "recipe field 'pairs.policy': must be 'best-worst'"),
        (
            {"seed_data": {"format": "sharegtp"}},
            "recipe field 'seed_data.format': did you mean 'sharegpt'? (got 'sharegtp')",
        ),
        ({"prompts": {"format": "Nectar"}}, "recipe field 'prompts.format': did you mean 'nectar'? (got 'Nectar')"),
        ({"seed_data": {"bad_rows": 3}}, "recipe field 'seed_data.bad_rows': must be 'drop' or 'stop' (got 3)"),
        (
            {"judge": {"verdicts": 2, "min_valid": 3}},
            "recipe field 'judge': min_valid is 3, but only 2 verdicts are asked for",
        ),
        (
            {"judge": {"constrained": True, "sampling": {"max_tokens": 15}}},
            "recipe field 'judge': constrained needs sampling.max_tokens of at least 16",
        ),
        ({"sft": {"final_learning_rate": 1.0}}, "recipe field 'sft': final_learning_rate must not exceed"),
        ({"inference": {"min_replicas": 3, "max_replicas": 2}}, "recipe field 'inference': min_replicas"),
        (
            {"training": {"liger_kernels": True}},
            "recipe field 'training': liger_kernels needs gpus_per_worker: Liger's kernels run on GPUs alone",
        ),
        (
            {"training": {"workers": 2, "min_workers": 3}},
            "recipe field 'training': min_workers must not exceed workers",
        ),
        (
            {"training": {"workers": 32}, "sft": {"batch_size": 32}, "dpo": {"batch_size": 31}},
            "recipe field 'recipe': dpo.batch_size 31 is smaller than training.workers 32: some workers would",
        ),
        (
            {"inference": {"nodes_per_replica": 2}},
            "recipe field 'inference': nodes_per_replica above 1 needs gpus_per_replica",
        ),
        (
            {"inference": {"nodes_per_replica": 2, "gpus_per_replica": 8, "max_replicas": 2}},
            "recipe field 'inference': nodes_per_replica above 1 needs min_replicas = max_replicas",
        ),
    ],
)
def test_a_wrong_field_is_named(values: dict[str, Any], message: str):
    with pytest.raises(RecipeError) as error:
        parse_recipe(LEAST | values)
    assert str(error.value).startswith(message)


def test_a_field_of_a_sampling_changes_no_other():
    recipe = parse_recipe(LEAST | {"prompts": {"sampling": {"temperature": 1}}, "judge": {"sampling": {"top_p": 1}}})
    assert (recipe.prompts.sampling.seeded, recipe.prompts.sampling.max_tokens) == (True, 256)
    assert recipe.judge.sampling.max_tokens == 512


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ("self-instruct", {"length", "capability", "program", "punctuation", "english", "similar"}),
        ("minimal", {"length", "similar"}),
        (["capability"], {"capability"}),
        ([], set()),
    ],
)
def test_filters_of_prompts_are_a_preset_or_a_list(filters: object, names: set[str]):
    recipe = parse_recipe(LEAST | {"prompts": {"filters": filters}})
    assert recipe.prompts.filter_names == names
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize("length", [1, 4096, -1, None])
def test_a_length_of_the_engine_is_passed_on(length: int | None):
    assert Inference(engine={"max_model_len": length}).engine == {"max_model_len": length}


@pytest.mark.parametrize("length", ["4k", 2048.0, True, 0, -2])
def test_a_length_of_the_engine_that_is_no_number_of_tokens_is_refused(length: object):
    with pytest.raises(ValueError, match=f"max_model_len must be a whole number .* and is {length!r}"):
        Inference(engine={"max_model_len": length})
