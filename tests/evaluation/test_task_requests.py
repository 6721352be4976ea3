"""What lm-eval asks for as requests, its results as figures, and the names of tasks; all without lm-eval."""

import sys
from dataclasses import dataclass
from typing import Any

import pytest

from selfreward_ray.errors import UserError
from selfreward_ray.evaluation.task_requests import encode_pair, numbered, task_request
from selfreward_ray.evaluation.tasks import NAMED, figures, load_tasks, task_names
from selfreward_ray.records import TaskRequest

PREFIX = 0


@dataclass
class Asked:
    """As lm-eval's `Instance`."""

    request_type: str
    args: tuple[Any, ...]
    task_name: str = "t"


def words(text: str) -> list[int]:
    """A token is a space and what follows it, as in most vocabularies; its id is its length."""
    cut = text.replace(" ", "\0 ").split("\0")
    return [len(word) for word in cut if word]


def begun(text: str) -> list[int]:
    """A tokenizer that puts a token before every text."""
    return [PREFIX, *words(text)]


def request(kind: str, *args: Any) -> TaskRequest:
    return task_request("id", Asked(kind, args), words, PREFIX)


@pytest.mark.parametrize(
    ("context", "continuation", "expected"),
    [
        ("Is it", " right", ([2, 3], [6])),
        ("Is it ", "right", ([2, 3], [6])),  # the space belongs to the word after it
        ("", "so", ([PREFIX], [2])),
        (" ", "so", ([PREFIX], [3])),
        ("Is it", "", ([2, 3], [])),
    ],
)
def test_a_context_and_its_continuation_are_encoded_together(
    context: str, continuation: str, expected: tuple[list[int], list[int]]
):
    assert encode_pair(context, continuation, words, PREFIX) == expected


def test_a_token_that_begins_every_text_is_not_scored():
    assert encode_pair("a b", " c", begun, PREFIX) == ([PREFIX, 1, 2], [2])
    assert encode_pair("", "a b", begun, PREFIX) == ([PREFIX], [1, 2])


def test_scores_and_texts_are_asked_for_by_token_ids():
    assert request("loglikelihood", "Is it", " right") == TaskRequest("id", "loglikelihood", (2, 3), (6,))
    assert request("loglikelihood_rolling", "Is it") == TaskRequest("id", "loglikelihood_rolling", (0,), (2, 3))
    assert request("generate_until", "Is it", {}) == TaskRequest("id", "generate_until", (2, 3), max_tokens=256)
    assert request("generate_until", "", {}).prompt_ids == (PREFIX,)


def test_the_settings_of_a_generation_are_kept():
    settings = {"until": ["\n", ""], "do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_gen_toks": 7}
    expected = TaskRequest("id", "generate_until", (1,), (), ("\n",), 7, 0.6, 0.9)
    assert request("generate_until", "a", settings) == expected
    assert request("generate_until", "a", {"until": "END", "max_new_tokens": 5}).until == ("END",)
    assert request("generate_until", "a", {"max_new_tokens": 5}).max_tokens == 5
    greedy = request("generate_until", "a", {"do_sample": False, "temperature": 1.0, "num_beams": 1, "until": None})
    assert (greedy.temperature, greedy.until) == (0.0, ())


@pytest.mark.parametrize("settings", [{"top_k": 5}, {"num_beams": 4}])
def test_a_setting_that_would_be_ignored_is_refused(settings: dict[str, int]):
    (name,) = settings
    with pytest.raises(UserError, match=f"the generation settings of t include {name}, which the pool does not have"):
        request("generate_until", "a", settings)


def test_an_unknown_kind_of_request_is_refused():
    with pytest.raises(UserError, match="--tasks: t asks for multiple_choice, which the pool cannot answer"):
        request("multiple_choice", "a")


def test_ids_depend_on_what_is_asked_and_not_on_its_order():
    one, two = Asked("loglikelihood", ("a", " b")), Asked("loglikelihood", ("a", " c"))
    text = Asked("generate_until", ("a", {"until": [], "max_gen_toks": 3}))
    same = Asked("generate_until", ("a", {"max_gen_toks": 3, "until": []}))
    ids = [name for name, _ in numbered([one, two, one, text, same])]
    assert len(set(ids)) == 5
    assert ids[0].removesuffix("/0") == ids[2].removesuffix("/1")
    assert ids[3].removesuffix("/0") == ids[4].removesuffix("/1")
    assert [name for name, _ in numbered([two, one, one])] == [ids[1], ids[0], ids[2]]


def test_lists_of_tasks_have_names():
    assert task_names("ifeval, gsm8k,ifeval") == ["ifeval", "gsm8k"]
    assert task_names("paper,gsm8k,ifeval") == [*NAMED["paper"], "ifeval"]
    assert len(set(NAMED["paper"])) == 9
    with pytest.raises(UserError, match="name at least one task"):
        task_names(" , ")


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match=r"pip install 'selfreward-ray\[lm-eval\]'"):
        load_tasks(["gsm8k"], None)


def test_results_become_rows():
    results = {
        "results": {
            "mmlu": {"name": "mmlu", "alias": "mmlu", "sample_len": 9, "acc,none": 0.5, "acc_stderr,none": 0.1},
            "mmlu_law": {"alias": " - law", "sample_len": 4, "acc,none": 0.25, "acc_stderr,none": "N/A"},
            "gsm8k": {"sample_len": 5, "exact_match,strict-match": float("nan")},
        },
        "group_subtasks": {"mmlu": ["mmlu_law"]},
        "n-shot": {"mmlu_law": 5},
    }
    keys = ("task", "group", "metric", "filter", "value", "standard_error", "few_shot", "documents")
    assert [tuple(row[key] for key in keys) for row in figures(results)] == [
        ("mmlu", None, "acc", "none", 0.5, 0.1, None, 9),
        ("mmlu_law", "mmlu", "acc", "none", 0.25, None, 5, 4),
        ("gsm8k", None, "exact_match", "strict-match", None, None, None, 5),
    ]
