"""Shipped recipes are found by name, and a user's own files come first."""

from pathlib import Path

import pytest

from selfreward_ray.recipe.shipped import DEMO_MODEL, shipped_names, shipped_text, summary
from selfreward_ray.recipe.text import RecipeError, load_recipe


@pytest.mark.parametrize("name", shipped_names())
def test_the_first_line_of_a_shipped_recipe_is_a_sentence_that_says_what_it_is_for(name: str):
    text = shipped_text(name) or ""
    assert text.startswith("# ")
    assert 40 < len(summary(text)) <= 118
    assert summary(text).endswith(".")


def test_a_shipped_recipe_is_found_by_its_name_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    by_name = load_recipe("quickstart", ["seed=3"])
    assert (by_name.name, by_name.seed, by_name.model) == ("quickstart", 3, DEMO_MODEL)
    assert load_recipe("quickstart.yaml", ["seed=3"]) == by_name


def test_a_file_of_that_name_comes_first_and_a_folder_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.yaml").write_text("model: mine")
    (tmp_path / "quickstart").mkdir()
    assert load_recipe("quickstart.yaml").model == "mine"
    assert load_recipe("quickstart").model == DEMO_MODEL


@pytest.mark.parametrize("name", ["nosuch", "quick", "recipes/quickstart", "../recipes/quickstart", "QUICKSTART"])
def test_an_unknown_name_is_answered_with_the_near_or_the_known_ones(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as error:
        load_recipe(name)
    known = "did you mean 'quickstart'?" if "quick" in name else f"shipped: {', '.join(shipped_names())}"
    assert str(error.value).endswith(known)
