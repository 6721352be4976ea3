from selfreward_ray.recipe.documentation import docstring_of
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.recipe.text import load_recipe
from selfreward_ray.reporting.recipe_diff import differences


def found(recipe: Recipe) -> dict[str, tuple[str, str]]:
    return {difference.field: (difference.here, difference.paper) for difference in differences(recipe)}


def test_fields_that_are_the_papers_are_left_out():
    recipe = Recipe.model_validate(
        {
            "name": "mine",
            "seed": 5,
            "model": "m",
            "dpo": {"beta": 0.2, "learning_rate": 1e-6},
            "judge": {"verdicts": 3},
            "inference": {"engine": {"max_model_len": 4096}},
        }
    )
    assert found(recipe) == {
        "model": ("m", "meta-llama/Llama-2-70b-hf"),
        "seed_data.source": ("none", "OpenAssistant/oasst1"),
        "prompts.proposer": ("none", "meta-llama/Llama-2-70b-chat-hf"),
        "dpo.beta": ("0.2", "0.1"),
        "training.dropout": ("none", "0.1"),
        "training.select": ("last", "judged"),
        "evaluation.head_to_head": ("scores", "pairwise"),
        "inference.engine.max_model_len": ("4096", "not set"),
        "inference.engine": ("not set", "none"),
    }


def test_the_papers_recipe_differs_in_rates_and_batches():
    """Its file says why: the paper's rates are for batches of 16."""
    shown = found(load_recipe("llama2-70b"))
    assert shown["dpo.learning_rate"] == ("2e-6", "1e-6")
    assert shown["sft.batch_size"] == ("64", "16")
    assert not {"model", "training.dropout", "judge.rubric", "prompts.proposer"} & shown.keys()


def test_fields_of_the_machine_are_told_from_those_of_the_method():
    recipe = load_recipe("quickstart", ["training.lora.rank=4"])
    machine = {difference.field for difference in differences(recipe) if difference.machine}
    method = {difference.field for difference in differences(recipe) if not difference.machine}
    assert "sft.micro_batch_tokens" in machine
    assert any(name.startswith("inference.") for name in machine)
    assert {"training.lora.rank", "judge.rubric", "prompts.source"} <= method
    assert not any(name.startswith("inference.") for name in method)


def test_each_field_has_its_docstring():
    assert all(difference.about for difference in differences(load_recipe("quickstart")))
    assert docstring_of("judge.sampling.top_p").startswith("Nucleus sampling")
    assert docstring_of("inference.engine.max_model_len").startswith("Further arguments of the vLLM engine")


def test_where_metrics_go_and_how_an_endpoint_is_asked_change_no_result():
    changed = {"tracking": {"project": "mine"}, "endpoint": {"retries": 1}, "training": {"workers": 3, "dropout": 0.2}}
    recipe = Recipe.model_validate({"model": "m0"} | changed)
    machine = {difference.field: difference.machine for difference in differences(recipe)}
    assert [machine[name] for name in ("tracking.project", "endpoint.retries", "training.workers")] == [True] * 3
    assert not machine["training.dropout"]
