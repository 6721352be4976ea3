import json
import re
from pathlib import Path
from typing import Any

import pytest
from scripted_model import ScriptedModel, ScriptedRounds, completion

from selfreward_ray.errors import UserError
from selfreward_ray.prompts.few_shot import OPENING
from selfreward_ray.prompts.given import LATER_TURN
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.records import Dropped, Prompt, RankedReply, RankedSet, SftExample, Turn
from selfreward_ray.steps.proposal_rounds import Proposer
from selfreward_ray.steps.propose import propose
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.step import Step
from selfreward_ray.store.tables import read_rows

SEEDS = [f"Tell me about the number {word} in detail." for word in ("one", "two", "three")]
# No two share enough words for ROUGE-L to call them alike.
GOOD = [
    "Name three rivers of France.",
    "Explain why bread dough rises overnight.",
    "Who invented the bicycle, and when?",
    "Suggest a present for my grandmother.",
    "Compare cats with dogs as pets.",
]


def recipe(**prompts: Any) -> Recipe:
    return Recipe.model_validate({"model": "m0", "prompts": {"seed_demonstrations": 3, **prompts}})


@pytest.fixture
def seed_data(tmp_path: Path) -> str:
    step = Step("seed", str(tmp_path / "seed"), {}, {})
    step.is_done()
    rows = [SftExample(f"s{i}/ift", "ift", text, "…") for i, text in enumerate(SEEDS)]
    later = SftExample("s3/ift", "ift", "a follow-up", "…", (Turn("user", "Hi."), Turn("assistant", "Hello.")))
    endless = SftExample("s4/ift", "ift", "word " * 151, "…")
    step.write([*rows, later, endless], SftExample)
    for table, prompt in (("eft", "Why is the sea salty at all?"), ("held_out", "How tall does an oak get?")):
        step.write([RankedSet(table, prompt, (RankedReply(f"{table}/r0", "So.", 0),))], RankedSet, table)
    step.finish(offered=5)
    return str(tmp_path / "seed")


@pytest.fixture
def run(tmp_path: Path, seed_data: str) -> Any:
    """Runs the step with a scripted proposer; returns the manifest, the prompts and the drops."""

    def step(model: ScriptedModel, wanted: Recipe, out: str = "out", earlier: Any = (), **rounds: Any) -> Any:
        scripted = ScriptedRounds(model, **rounds)
        folder = str(tmp_path / out)
        with Proposer(wanted, open_rounds=scripted) as proposer:
            manifest = propose(wanted, seed_data=seed_data, iteration=1, out=folder, earlier=earlier, proposer=proposer)
        return manifest, read_rows(Folder(folder), Prompt), read_rows(Folder(folder), Dropped, "dropped")

    return step


def numbered(said: list[Any]) -> ScriptedModel:
    """Says `said` in the order of the requests, and nothing of use afterwards."""
    return ScriptedModel(lambda text, row: said[int(row[-6:])] if int(row[-6:]) < len(said) else "no")


def prompts_file(path: Path, rows: list[Any]) -> str:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps({"prompt": row[0]}) for row in rows))
    return str(path)


def test_the_demo_world_gives_new_prompts_to_each_iteration(tmp_path: Path, seed_data: str):
    wanted = recipe(source="demo", count=6)
    texts = []
    for iteration in (1, 2):
        out = str(tmp_path / f"p{iteration}")
        assert propose(wanted, seed_data=seed_data, iteration=iteration, out=out).rows == {"rows": 6}
        prompts = read_rows(Folder(out), Prompt)
        assert [p.id for p in prompts] == [f"M{iteration + 1}/p{i:06d}" for i in range(6)]
        texts += [p.text for p in prompts]
    assert len(set(texts)) == 12


def test_each_iteration_takes_its_own_stretch_of_a_file(tmp_path: Path, seed_data: str):
    """Lines end at line feeds alone: U+2028 may stand in a JSON string as it is."""
    source = prompts_file(tmp_path / "prompts.jsonl", [["a"], ["b"], "", '{"prompt": "c\u2028c"}\r', ["d"]])
    out = str(tmp_path / "out")
    propose(recipe(source=source, count=2), seed_data=seed_data, iteration=2, out=out)
    assert read_rows(Folder(out), Prompt) == [Prompt("M3/p000000", "c\u2028c"), Prompt("M3/p000001", "d")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a"], ["b"], ["c"]], "has 3 prompts; iteration 2 needs rows 3 to 4: give a longer file"),
        ([["a"], ["b"], ["c"], "", "{"], r"1 × is the last line, and cut off \(first: .*prompts\.jsonl:5\)"),
        ([["a"], ["b"], "[1]", ["d"]], r"1 × is a JSON array \(first: .*prompts\.jsonl:3\)"),
        ([["a"], ["b"], '{"text": "c"}', ["d"]], r"prompts\.jsonl:3: this row is of the format 'text'"),
        ([["a"], ["b"], '{"words": "c"}', ["d"]], r"1 of 4 rows cannot be used.*'prompt' is missing .*jsonl:3"),
        ([["a"], ["b"], '{"prompt": 7}', ["d"]], r"1 of 4 rows cannot be used.*field 'prompt' .*prompts\.jsonl:3"),
        ([["a"], ["b"], '{"prompt": " "}', ["d"]], "has 3 prompts; iteration 2 needs rows 3 to 4"),
        ([["a"], ["b"], '{"prompt": "\\ud800"}', ["d"]], "has 3 prompts; iteration 2 needs rows 3 to 4"),
    ],
)
def test_a_file_that_is_too_short_or_malformed_says_where(
    tmp_path: Path, seed_data: str, rows: list[Any], message: str
):
    source = prompts_file(tmp_path / "prompts.jsonl", rows)
    with pytest.raises(UserError, match=message):
        propose(recipe(source=source, count=2), seed_data=seed_data, iteration=2, out=str(tmp_path / "out"))


def test_rows_that_cannot_be_used_are_dropped_in_their_iteration(tmp_path: Path, seed_data: str):
    """A bad row between two stretches belongs to the second one."""
    rows = [[f"a{n}"] for n in range(10)] + ['{"prompt": null}'] + [[f"b{n}"] for n in range(10)] + [["c"]]
    wanted = recipe(source=prompts_file(tmp_path / "prompts.jsonl", rows), count=10)
    for iteration, (letter, lost) in enumerate([("a", 0), ("b", 1)], start=1):
        out = str(tmp_path / f"p{iteration}")
        manifest = propose(wanted, seed_data=seed_data, iteration=iteration, out=out)
        assert [p.text for p in read_rows(Folder(out), Prompt)] == [f"{letter}{n}" for n in range(10)]
        dropped = read_rows(Folder(out), Dropped, "dropped")
        assert [(d.id, d.step) for d in dropped] == [(f"{wanted.prompts.source}:11", "propose")] * lost
        assert sum(manifest.dropped.values()) == lost
        assert manifest.metrics["reading"] == {"format": "prompt", "bad_rows": 1, "unused_columns": []}


def test_rows_far_behind_those_of_an_iteration_are_not_read(tmp_path: Path, seed_data: str):
    source = prompts_file(tmp_path / "prompts.jsonl", [[f"a{n}"] for n in range(200)] + ["nonsense"])
    out = str(tmp_path / "out")
    propose(recipe(source=source, count=100), seed_data=seed_data, iteration=1, out=out)
    assert len(read_rows(Folder(out), Prompt)) == 100


def test_prompts_with_a_system_text_are_proposed_with_it_and_questions_by_their_first_turn(
    tmp_path: Path, seed_data: str
):
    system = {"system": "Answer in French.", "prompt": "Why?"}
    turns = {"question_id": 1, "turns": ["Write a poem.", "Now in A."]}
    out = str(tmp_path / "out")
    source = prompts_file(tmp_path / "prompts.jsonl", [json.dumps(system), json.dumps(turns), ["Who?"]])
    propose(recipe(source=source, count=3), seed_data=seed_data, iteration=1, out=out)
    assert read_rows(Folder(out), Prompt) == [
        Prompt("M2/p000000", "Why?", (Turn("system", "Answer in French."),)),
        Prompt("M2/p000001", "Write a poem."),
        Prompt("M2/p000002", "Who?"),
    ]
    assert read_rows(Folder(out), Dropped, "dropped") == [Dropped(f"{source}:2/t1", "propose", LATER_TURN)]


def test_of_a_folder_the_split_is_proposed_that_the_recipe_names(tmp_path: Path, seed_data: str):
    folder = tmp_path / "given"
    folder.mkdir()
    for split in ("train", "test"):
        prompts_file(folder / f"{split}.jsonl", [[split]])
    for split in ("train", "test"):
        out = str(tmp_path / split)
        propose(recipe(source=str(folder), split=split, count=1), seed_data=seed_data, iteration=1, out=out)
        assert [p.text for p in read_rows(Folder(out), Prompt)] == [split]
    with pytest.raises(
        UserError, match=r"prompts.source: .* has no split 'dev'; it has test, train; set prompts.split"
    ):
        propose(recipe(source=str(folder), split="dev"), seed_data=seed_data, iteration=1, out=str(tmp_path / "dev"))


def test_columns_of_the_recipe_say_where_the_prompts_are(
    tmp_path: Path, seed_data: str, capsys: pytest.CaptureFixture[str]
):
    source = prompts_file(tmp_path / "prompts.jsonl", ['{"q": "Why?", "mood": "glad"}'])
    out = str(tmp_path / "out")
    propose(recipe(source=source, count=1, columns={"prompt": "q"}), seed_data=seed_data, iteration=1, out=out)
    assert [p.text for p in read_rows(Folder(out), Prompt)] == ["Why?"]
    assert "'mood'" in capsys.readouterr().err


def test_proposals_are_filtered_in_the_order_of_their_ids(run: Any):
    said = [
        completion("Explain to me why the sky", "length"),
        GOOD[0],
        "Tell me about the number two in great detail.",  # 8 of 8 seed words out of 9: F1 = 16/17
        f"{GOOD[0]}\nTask 10: Draw a map.",
        ValueError("engine hiccup"),
        GOOD[1],
    ]
    manifest, prompts, dropped = run(numbered(said), recipe(count=2, requests_per_round=6))
    assert prompts == [Prompt("M2/q000001", GOOD[0]), Prompt("M2/q000005", GOOD[1])]
    assert sorted((d.id[-1], d.reason) for d in dropped) == [
        ("0", "cut off by the length limit"),
        ("2", "ROUGE-L above 0.7 with an earlier prompt"),
        ("3", "ROUGE-L above 0.7 with an earlier prompt"),
        ("4", "ValueError: engine hiccup"),
    ]
    assert manifest.rows == {"rows": 2}
    assert sum(manifest.dropped.values()) == 4


def test_rounds_go_on_until_enough_are_kept_and_the_last_one_leaves_some_over(run: Any):
    model = numbered([GOOD[0], "no", GOOD[1], GOOD[2], GOOD[3], GOOD[4]])
    manifest, prompts, _ = run(model, recipe(count=3, requests_per_round=2))
    assert [p.text for p in prompts] == GOOD[:3]
    assert model.asked == [f"M2/q{i:06d}" for i in range(4)]
    assert manifest.dropped == {"shorter than 4 words": 1}
    manifest, prompts, _ = run(numbered(GOOD), recipe(count=2, requests_per_round=5), out="large")
    assert [p.text for p in prompts] == GOOD[:2]
    assert manifest.dropped == {"more prompts than were asked for": 3}


def test_demonstrations_are_seeds_and_later_new_prompts_too(run: Any):
    shown: dict[str, str] = {}

    def answer(text: str, row: str) -> str:
        shown[row] = text
        return (GOOD[0], *["no"] * 3, GOOD[1], "no", "no", "no")[int(row[-6:])]

    wanted = recipe(count=2, seed_demonstrations=2, new_demonstrations=1, requests_per_round=4)
    run(ScriptedModel(answer), wanted)
    seeds_shown = [sum(seed in text for seed in SEEDS) for _, text in sorted(shown.items())]
    new_shown = [GOOD[0] in text for _, text in sorted(shown.items())]
    assert seeds_shown == [2] * 8
    assert new_shown == [False] * 4 + [True] * 4
    assert not any(other in text for text in shown.values() for other in ("a follow-up", "word word"))


def test_a_proposer_that_gives_too_little_spends_the_budget_and_says_why(run: Any):
    model = ScriptedModel(lambda text, row: GOOD[0])
    message = (
        r"prompts: 6 proposals gave 1 of 2 prompts \(dropped: 5 ROUGE-L above 0.7 with an earlier prompt\); raise "
        "prompts.max_requests"
    )
    with pytest.raises(UserError, match=message):
        run(model, recipe(count=2, max_requests=5, requests_per_round=2))
    assert model.asked == [f"M2/q{i:06d}" for i in range(6)], "whole rounds"


def test_a_raised_budget_goes_on_with_what_was_proposed_before(run: Any):
    first, second = numbered([GOOD[0]]), numbered(["no", "no", "no", GOOD[1]])
    with pytest.raises(UserError, match="2 proposals gave 1 of 2"):
        run(first, recipe(count=2, max_requests=2, requests_per_round=2))
    _, prompts, _ = run(second, recipe(count=2, max_requests=4, requests_per_round=2))
    assert [p.text for p in prompts] == GOOD[:2]
    assert second.asked == ["M2/q000002", "M2/q000003"]


def test_without_a_budget_of_its_own_it_is_twenty_times_the_count(run: Any):
    model = ScriptedModel(lambda text, row: "no")
    with pytest.raises(UserError, match="20 proposals gave 0 of 1"):
        run(model, recipe(count=1, requests_per_round=10))


def test_too_few_seeds_to_show_are_refused(run: Any):
    with pytest.raises(UserError, match=r"has 3 IFT prompts .* fewer than prompts.seed_demonstrations = 4"):
        run(numbered(GOOD), recipe(count=1, seed_demonstrations=4))


def test_nothing_that_is_known_is_proposed_again(run: Any, tmp_path: Path):
    """Prompts of the judging and held-out sets, of earlier iterations, and the words that open the list."""
    earlier = Step("propose", str(tmp_path / "earlier"), {}, {})
    earlier.is_done()
    earlier.write([Prompt("M1/p0", GOOD[0])], Prompt)
    earlier.finish(offered=1)
    said = [GOOD[0], "Why is the sea salty at all?", "How tall does an oak get?", OPENING, GOOD[1]]
    manifest, prompts, _ = run(
        numbered(said), recipe(count=1, requests_per_round=5), earlier=[str(tmp_path / "earlier")]
    )
    assert [p.text for p in prompts] == [GOOD[1]]
    assert manifest.dropped == {"ROUGE-L above 0.7 with an earlier prompt": 4}


def shown_and_said() -> tuple[dict[str, str], ScriptedModel]:
    """A proposer whose every answer depends on its id, and the demonstrations that it was shown."""
    shown: dict[str, str] = {}

    def answer(text: str, row: str) -> str:
        shown[row] = text
        return (*GOOD, "no")[sum(map(ord, row)) % 6]

    return shown, ScriptedModel(answer)


def test_neither_blocks_nor_their_order_change_what_is_kept(run: Any):
    wanted = recipe(count=5, requests_per_round=4, max_requests=60)
    shown, model = shown_and_said()
    _, prompts, dropped = run(model, with_blocks(wanted, 4), out="one")
    for out, blocks, backwards in (("small", 1, False), ("backwards", 1, True), ("uneven", 3, True)):
        again, other = shown_and_said()
        _, other_prompts, other_dropped = run(other, with_blocks(wanted, blocks), out=out, backwards=backwards)
        assert (other_prompts, other_dropped, again) == (prompts, dropped, shown)


def test_after_an_interruption_only_what_was_not_answered_is_asked(run: Any):
    """Stopped in the second round, with one block of two rows answered; then in blocks of three."""
    wanted = recipe(count=5, requests_per_round=4, max_requests=60)
    shown, model = shown_and_said()
    _, prompts, dropped = run(model, with_blocks(wanted, 2), out="whole")
    first_shown, first = shown_and_said()
    with pytest.raises(KeyboardInterrupt):
        run(first, with_blocks(wanted, 2), stop_after=1)
    later_shown, later = shown_and_said()
    _, later_prompts, later_dropped = run(later, with_blocks(wanted, 3))
    assert (later_prompts, later_dropped) == (prompts, dropped)
    assert first_shown | later_shown == shown
    assert not first_shown.keys() & later_shown.keys()


def test_the_recipes_seed_changes_the_demonstrations(run: Any):
    shown, model = shown_and_said()
    run(model, recipe(count=3), out="one")
    other_shown, other = shown_and_said()
    run(other, recipe(count=3).model_copy(update={"seed": 1}), out="two")
    assert other_shown != shown


def with_blocks(wanted: Recipe, rows: int) -> Recipe:
    return wanted.model_copy(update={"inference": wanted.inference.model_copy(update={"rows_per_block": rows})})


def test_seeds_are_looked_for_in_a_seed_step_alone(tmp_path: Path):
    with pytest.raises(UserError, match="holds no finished 'seed' step"):
        propose(recipe(source="demo"), seed_data=str(tmp_path), iteration=1, out=str(tmp_path / "out"))


CHINESE = ["请介绍长江的形成过程。", "写一首关于春天的短诗。", "解释什么是机器学习。", "推荐三本科幻小说。"]
NEW_CHINESE = ["为什么海水是咸的？", "给朋友写一封道歉信。", "如何在家里种西红柿？"]


def chinese_seeds(tmp_path: Path) -> str:
    step = Step("seed", str(tmp_path / "chinese"), {}, {})
    step.is_done()
    step.write([SftExample(f"s{i}/ift", "ift", text, "好。") for i, text in enumerate(CHINESE)], SftExample)
    step.finish(offered=len(CHINESE))
    return str(tmp_path / "chinese")


def propose_from(seed_data: str, model: ScriptedModel, wanted: Recipe, out: Path) -> list[Prompt]:
    with Proposer(wanted, open_rounds=ScriptedRounds(model)) as proposer:
        propose(wanted, seed_data=seed_data, iteration=1, out=str(out), proposer=proposer)
    return read_rows(Folder(str(out)), Prompt)


def test_prompts_are_proposed_from_chinese_seeds(tmp_path: Path):
    """A near repeat of a seed is refused, and so is a text of five characters."""
    near = "请介绍黄河的形成过程。"
    said = [f"{NEW_CHINESE[0]}\n任务9：{NEW_CHINESE[1]}", near, "写首短诗。", *NEW_CHINESE[1:]]
    out = tmp_path / "out"
    prompts = propose_from(chinese_seeds(tmp_path), numbered(said), recipe(count=3, filters="minimal"), out)
    assert [p.text for p in prompts] == NEW_CHINESE
    dropped = read_rows(Folder(str(out)), Dropped, "dropped")
    assert {d.id[-1]: d.reason for d in dropped if d.id < "M2/q000005"} == {
        "1": "ROUGE-L above 0.7 with an earlier prompt",
        "2": "shorter than 6 characters",
    }


def test_filters_that_refuse_the_seeds_are_named_before_an_engine_starts(tmp_path: Path):
    model = numbered(NEW_CHINESE)
    message = (
        "prompts: the filters of prompts.filters refuse 4 of the 4 seed prompts themselves, so they would refuse "
        "proposals like them: 4 begins with a non-English character, the filter english; set prompts.filters=minimal, "
        "which suits any language, or list other filters, or give prompts of your own with prompts.source=FILE"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        propose_from(chinese_seeds(tmp_path), model, recipe(count=3), tmp_path / "out")
    assert model.asked == []


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Retell the plot of Hamlet in verse.", r"max_requests, list prompts.filters without capability \(prompts"),
        ("为什么海水是咸的？", r"max_requests, list prompts.filters without english \(prompts.filters=minimal suits"),
        (completion("Tell me about bread and", "length"), "max_requests, raise prompts.sampling.max_tokens, lower"),
        (ValueError("hiccup"), "max_requests, lower prompts.count"),
    ],
)
def test_the_remedy_is_that_of_the_commonest_reason(run: Any, said: Any, remedy: str):
    with pytest.raises(UserError, match=f"gave 0 of 1 .*{remedy}.*prompts.source=FILE$"):
        run(ScriptedModel(lambda text, row: said), recipe(count=1, max_requests=4, requests_per_round=2))


def test_the_recipe_admits_the_plot_of_hamlet(run: Any):
    said = ["Retell the plot of Hamlet in verse."]
    names = ["length", "program", "punctuation", "english", "similar"]
    _, prompts, _ = run(numbered(said), recipe(count=1, requests_per_round=1, filters=names))
    assert [p.text for p in prompts] == said


def test_without_the_filter_near_repeats_are_admitted_but_not_exact_ones(run: Any):
    near = f"{SEEDS[0]} Please!"
    manifest, prompts, _ = run(numbered([SEEDS[0], near]), recipe(count=1, requests_per_round=2, filters=["length"]))
    assert [p.text for p in prompts] == [near]
    assert manifest.dropped == {"repeats an earlier prompt": 1}
