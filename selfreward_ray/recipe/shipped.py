"""The recipes that come with the package, by name. An installed package has them too."""

from pathlib import Path

_FOLDER = Path(__file__).with_name("recipes")

DEMO_MODEL = "models/SmolLM2-135M-Instruct"
"""The model that the recipes for two CPU cores name; `selfreward fetch-demo-model` writes this folder."""


def shipped_names() -> list[str]:
    """Names of the shipped recipes, sorted."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def shipped_text(name: str) -> str | None:
    """The YAML of a shipped recipe, with or without ``.yaml`` in its name. None if there is no such recipe."""
    name = name.removesuffix(".yaml")
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8") if name in shipped_names() else None


def summary(text: str) -> str:
    """The first line of a recipe, which is a comment that says what the recipe is for."""
    return text.partition("\n")[0].removeprefix("#").strip()
