"""What a check says of data that it does not read whole: data sets of the hub, long files, and sets that fall short."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from test_check_run import problems, recipe, write_pairs

from selfreward_ray.check.check import check_run

NAMED = [("seed data", {"seed_data": {"source": "you/data"}}), ("prompts", {"prompts": {"source": "you/data"}})]


def no(error: type[Exception]) -> Exception:
    request = httpx.Request("GET", "https://hub.invalid")
    return error("no", response=httpx.Response(403, request=request)) if error is not OSError else OSError("down")


def ask(monkeypatch: pytest.MonkeyPatch, answer: Exception | None) -> list[str]:
    """Let the hub give this answer; returns the names of the data sets that it is then asked for."""
    asked: list[str] = []

    def dataset_info(self: Any, name: str, **_: Any) -> Any:
        asked.append(name)
        if answer is not None:
            raise answer
        return SimpleNamespace(id=name)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    return asked


@pytest.mark.parametrize(("about", "sections"), NAMED)
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GatedRepoError, "the hub's data set 'you/data' asks for an agreement; accept it there, and set HF_TOKEN"),
        (RepositoryNotFoundError, "there is no file or folder 'you/data', and the hub has no data set of that name"),
    ],
)
def test_what_the_hub_refuses_is_a_problem(
    about: str,
    sections: dict[str, Any],
    error: type[Exception],
    message: str,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    asked = ask(monkeypatch, no(error))
    (said,) = problems(check_run(recipe(tiny_model, **sections), None))
    assert said.startswith(f"{next(iter(sections))}.source: {message}")
    assert asked == ["you/data"]


@pytest.mark.parametrize(("about", "sections"), NAMED)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "you/data: a data set of the hub, which is read when the step begins"),
        (OSError, "you/data: the hub was not reached (OSError), so this data set was not looked at"),
    ],
)
def test_what_the_hub_has_or_does_not_say_is_no_problem(
    about: str,
    sections: dict[str, Any],
    answer: type[Exception] | None,
    message: str,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    ask(monkeypatch, None if answer is None else no(answer))
    found = check_run(recipe(tiny_model, **sections), None)
    assert problems(found) == []
    assert message in [finding.text for finding in found if finding.about == about]


def test_sets_that_fall_short_are_said(tmp_path: Path, tiny_model: Path):
    source = write_pairs(tmp_path / "pairs.jsonl", 40)
    found = check_run(recipe(tiny_model, seed_data={"source": source, "ift": 50, "eft": 10, "held_out": 5}), None)
    assert problems(found) == []
    assert "fewer sets than were asked for: 30 of 50 ift" in [finding.text for finding in found]


def test_of_long_files_the_beginning_is_read(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selfreward_ray.check.data.MOST_ROWS", 10)
    source = write_pairs(tmp_path / "pairs.jsonl", 40)
    wanted = recipe(tiny_model, seed_data={"source": source}, prompts={"source": source, "count": 20})
    found = check_run(wanted, None)
    said = {about: [each.text for each in found if each.about == about] for about in ("seed data", "prompts")}
    assert said["seed data"][0].startswith(f"{source}: the first 10 rows of the format 'preference': ")
    assert said["prompts"] == [f"{source}: 10 of the 40 prompts that are needed in its first 10 rows"]


def test_what_the_reading_of_rows_notes_is_said(tmp_path: Path, tiny_model: Path):
    row = {"prompt": "What is {}?", "chosen": "It is.", "rejected": "No.", "colour": "red"}
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row).replace("{}", str(n)) + "\n" for n in range(40)))
    source = str(tmp_path / "pairs.jsonl")
    wanted = recipe(tiny_model, seed_data={"source": source}, prompts={"source": source, "count": 10})
    found = check_run(wanted, None)
    assert problems(found) == []
    for about in ("seed data", "prompts"):
        said = [finding.text for finding in found if finding.about == about]
        assert any("not used by the format" in text and "'colour'" in text for text in said), about


def test_prompts_that_repeat_others_are_counted(tmp_path: Path, tiny_model: Path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Why?"}\n' * 15 + '{"prompt": "How?"}\n' * 5)
    wanted = {"source": str(tmp_path / "prompts.jsonl"), "count": 10}
    found = check_run(recipe(tiny_model, prompts=wanted), None)
    assert problems(found) == []
    said = [finding.text for finding in found if finding.about == "prompts"]
    assert said[1] == "18 of these prompts repeat an earlier one, and are answered again"
