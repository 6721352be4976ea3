"""Programs on single rows, with a scripted model."""

import asyncio
from typing import Any

import pytest
from scripted_model import ScriptedModel, completion

from selfreward_ray.inference.programs import (
    answer_question,
    compare,
    evaluate_set,
    judge_replies,
    judge_set,
    propose_prompt,
    respond_and_judge,
    sample,
    verdict,
)
from selfreward_ray.judging.head_to_head import TOO_FEW_VERDICTS, TOO_LONG
from selfreward_ray.judging.rubric import load_pairwise, load_rubric
from selfreward_ray.prompts.few_shot import read_proposal
from selfreward_ray.recipe.schema import Judge, Respond, Sampling, VerdictSampling
from selfreward_ray.records import (
    Candidate,
    Comparison,
    Completion,
    Contender,
    Dropped,
    JudgedPrompt,
    Prompt,
    Proposal,
    Question,
    RankedReply,
    RankedSet,
    ReplyPair,
    Turn,
    Verdict,
)

RUBRIC = load_rubric("checklist")
PAIRWISE = load_pairwise("pairwise")
RESPOND = Respond(candidates=2, sampling=Sampling(temperature=0.8, max_tokens=9))
JUDGE = Judge(verdicts=2, min_valid=1, retries=2, sampling=VerdictSampling(max_tokens=50))
PROMPT = Prompt("M2/p000000", "Name a river.")


def answered(model: ScriptedModel, judge: Judge = JUDGE) -> Any:
    return asyncio.run(respond_and_judge(PROMPT, model, RESPOND, judge, RUBRIC))


def judged(model: ScriptedModel, judge: Judge = JUDGE) -> Verdict:
    question = model.encode(RUBRIC.render(PROMPT.text, "The Rhine."))
    return asyncio.run(verdict(question, "r0/v0", model, judge, RUBRIC))


def test_each_candidate_is_judged_and_its_scores_averaged():
    """Means over 5 and 4, and over 2 and 0; population variances 0.5² and 1²."""
    says = {
        "r0": completion("The Rhine."),
        "r1": completion("Riv", "length"),
        "r0/v0/a0": "Good. Score: 5",
        "r0/v1/a0": "Score: 4",
        "r1/v0/a0": "Score: 2",
        "r1/v1/a0": "Score: 0",
    }
    model = ScriptedModel(lambda text, row: says[row.removeprefix("M2/p000000/")])
    row = answered(model)
    assert (row.id, row.text, row.token_ids) == (PROMPT.id, PROMPT.text, tuple(b"Name a river."))
    first = row.candidates[0]
    assert (first.id, first.text, first.token_ids, first.finished) == (
        "M2/p000000/r0",
        "The Rhine.",
        tuple(b"The Rhine."),
        True,
    )
    assert [(c.mean, c.variance, c.finished) for c in row.candidates] == [(4.5, 0.25, True), (1.0, 1.0, False)]
    assert first.verdicts[0] == Verdict("M2/p000000/r0/v0", "Good. Score: 5", 5.0, 1)
    assert sorted(model.asked) == sorted(f"M2/p000000/{row}" for row in says)
    assert model.samplings["M2/p000000/r0"] == RESPOND.sampling
    assert model.samplings["M2/p000000/r0/v0/a0"] == JUDGE.sampling


def test_the_judge_is_shown_the_prompt_and_that_candidates_reply():
    shown: dict[str, str] = {}

    def answer(text: str, row: str) -> str:
        shown[row] = text
        return "Score: 3" if "/v" in row else f"reply of {row}"

    answered(ScriptedModel(answer))
    assert shown["M2/p000000/r1/v0/a0"] == RUBRIC.render("Name a river.", "reply of M2/p000000/r1")


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        (["Score: 3"], (3.0, 1)),
        (["Hm.", "Score: 3"], (3.0, 2)),
        (["Hm.", "Score: 9", "Score: 1"], (1.0, 3)),
        (["Hm.", "Hm.", "Hm.", "Score: 5"], (None, 3)),
        ([completion("So far: Score: 4", "length"), "Score: 2"], (2.0, 2)),
        ([completion("Score: 4", "length")] * 3, (None, 3)),
        ([completion("Score: 4", "abort")] * 3, (None, 3)),
    ],
)
def test_an_unreadable_or_cut_off_verdict_is_asked_for_again_and_never_a_number(
    attempts: list[str | Completion], expected: tuple[float | None, int]
):
    model = ScriptedModel(lambda text, row: attempts[int(row.removeprefix("r0/v0/a"))])
    given = judged(model)
    assert (given.score, given.attempts) == expected
    last = attempts[expected[1] - 1]
    assert given.text == (last if isinstance(last, str) else last.text)
    assert model.asked == [f"r0/v0/a{n}" for n in range(expected[1])]


def test_without_retries_a_verdict_is_asked_for_once():
    model = ScriptedModel(lambda text, row: "Hm.")
    assert judged(model, JUDGE.model_copy(update={"retries": 0})) == Verdict("r0/v0", "Hm.", None, 1)
    assert model.asked == ["r0/v0/a0"]


def test_a_judge_prompt_that_does_not_fit_is_not_asked_and_nothing_stands_in_for_it():
    """An answer takes 13 + 9 bytes of context, a judge prompt over 100: only the candidates are requested."""
    model = ScriptedModel(lambda text, row: "The Rhine.", context=100)
    row = answered(model)
    assert sorted(model.asked) == ["M2/p000000/r0", "M2/p000000/r1"]
    for candidate in row.candidates:
        assert (candidate.mean, candidate.variance) == (None, None)
        assert [v.score for v in candidate.verdicts] == [None, None]
        assert [v.text for v in candidate.verdicts] == ["not asked: too long"] * 2
        assert [v.attempts for v in candidate.verdicts] == [0, 0]


def test_verdicts_of_a_finished_candidate_start_before_the_others_are_finished():
    """The second candidate is delayed until all verdicts on the first are finished."""

    class Slow(ScriptedModel):
        async def generate(
            self, prompt_ids: list[int], sampling: Sampling, request_id: str, pattern: str | None = None
        ) -> Completion:
            if request_id.endswith("/r1"):
                await asyncio.wait_for(judged_first.wait(), timeout=5)
            given = await super().generate(prompt_ids, sampling, request_id)
            if [row for row in self.asked if "/r0/v" in row] == ["M2/p000000/r0/v0/a0", "M2/p000000/r0/v1/a0"]:
                judged_first.set()
            return given

    judged_first = asyncio.Event()
    model = Slow(lambda text, row: "Score: 3")
    row = answered(model)
    assert [c.mean for c in row.candidates] == [3.0, 3.0]
    assert model.asked.index("M2/p000000/r1") == 3


def test_a_row_that_raises_asks_for_nothing_more():
    """The second candidate's verdicts would never finish."""

    class Endless(ScriptedModel):
        cancelled: tuple[str, ...] = ()

        async def generate(self, prompt_ids: list[int], sampling: Sampling, request_id: str, *more: Any) -> Completion:
            if "/v" not in request_id:
                return completion("The Rhine.")
            if "/r0/" in request_id:
                await asyncio.sleep(0.01)
                raise RuntimeError("refused")
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.cancelled += (request_id,)
                raise
            raise AssertionError

    model = Endless(lambda *_: "")

    async def row() -> tuple[str, ...]:
        with pytest.raises(RuntimeError, match="refused"):
            await respond_and_judge(PROMPT, model, RESPOND, JUDGE, RUBRIC)
        return model.cancelled  # by now, not when the loop ends

    assert sorted(asyncio.run(row())) == [f"{PROMPT.id}/r1/v{k}/a0" for k in range(2)]


def test_what_is_sampled_alone_is_judged_later_to_the_same_row():
    """The rows equal those of respond_and_judge; in between, the candidates have no verdicts and no mean."""

    def answer(text: str, row: str) -> Any:
        return f"Score: {row[-4]}" if "/v" in row else completion(f"reply of {row}", "length")

    model = ScriptedModel(answer)
    sampled = asyncio.run(sample(PROMPT, model, RESPOND))
    assert model.asked == ["M2/p000000/r0", "M2/p000000/r1"]
    assert {(c.verdicts, c.mean, c.variance) for c in sampled.candidates} == {((), None, None)}
    judged_later = asyncio.run(judge_replies(sampled, ScriptedModel(answer), JUDGE, RUBRIC))
    assert judged_later == answered(ScriptedModel(answer))


def test_replies_that_were_judged_are_judged_anew_and_keep_their_ids():
    old = Verdict("p/r0/v0", "Score: 1", 1.0, 1)
    reply = Candidate("p/r0", "The Rhine.", (5, 6), False, (old,) * 3, 1.0, 0.0)
    before = JudgedPrompt("p", "Name a river.", (7,), (reply,))
    model = ScriptedModel(lambda text, row: {"v0": "Score: 4", "v1": "Score: 2"}[row.split("/")[2]])
    after = asyncio.run(judge_replies(before, model, JUDGE, RUBRIC))
    assert (after.id, after.token_ids) == ("p", (7,))
    [again] = after.candidates
    assert (again.id, again.token_ids, again.finished, again.mean) == ("p/r0", (5, 6), False, 3.0)
    assert [v.text for v in again.verdicts] == ["Score: 4", "Score: 2"]


PAIR = ReplyPair("left/a", "Name a river.", Contender("a", "Rhine"), Contender("b", "Red"))


def compared(model: ScriptedModel, judge: Judge = JUDGE) -> Any:
    return asyncio.run(compare(PAIR, model, judge, PAIRWISE))


def test_a_pair_is_shown_in_both_orders_and_each_verdict_kept():
    """The judge prefers Rhine in both positions; its first verdict on it in second position is retried."""
    shown: dict[str, str] = {}

    def answer(text: str, row: str) -> str:
        shown[row] = text
        if row == "left/a/right-first/v0/a0":
            return "Hm."
        return "Better: first" if "<first_reply>\nRhine" in text else "Better: second"

    made = compared(ScriptedModel(answer))
    assert isinstance(made, Comparison)
    assert (made.id, made.pair, made.preferred) == ("left/a", PAIR, "left")
    assert [(v.id, v.score, v.attempts) for v in made.left_first + made.right_first] == [
        ("left/a/left-first/v0", 1.0, 1),
        ("left/a/left-first/v1", 1.0, 1),
        ("left/a/right-first/v0", 0.0, 2),
        ("left/a/right-first/v1", 0.0, 1),
    ]
    assert shown["left/a/left-first/v1/a0"] == PAIRWISE.render("Name a river.", "Rhine", "Red")
    assert shown["left/a/right-first/v0/a1"] == PAIRWISE.render("Name a river.", "Red", "Rhine")


def test_a_pair_whose_one_order_can_not_be_judged_is_dropped():
    model = ScriptedModel(lambda text, row: "Hm." if "/right-first/" in row else "Better: first")
    assert compared(model) == Dropped("left/a", "compare", TOO_FEW_VERDICTS)


def test_a_pair_that_does_not_fit_is_not_asked_about_and_dropped():
    model = ScriptedModel(lambda text, row: "Better: first", context=100)
    assert compared(model) == Dropped("left/a", "compare", TOO_LONG)
    assert model.asked == []


def test_a_constrained_comparison_has_to_end_in_a_choice():
    model = ScriptedModel(lambda text, row: "Better: tie")
    assert compared(model, JUDGE.model_copy(update={"constrained": True})).preferred == "neither"
    assert set(model.patterns.values()) == {PAIRWISE.constrained_pattern(34)}


@pytest.mark.parametrize(
    ("said", "finish_reason", "text", "taken_as"),
    [
        (" Name a sea.\n", "stop", "Name a sea.", "stop"),
        (" Name a sea and", "length", "Name a sea and", "length"),
        (" Name a sea.\nTask 10: Name a", "length", "Name a sea.", "stop"),
        ("", "length", "", "length"),
    ],
)
def test_a_proposal_is_the_first_task_and_cut_off_only_if_that_one_is(
    said: str, finish_reason: str, text: str, taken_as: str
):
    model = ScriptedModel(lambda *_: completion(said, finish_reason))
    request = Prompt("M2/q000003", "Task 9:")
    given = asyncio.run(propose_prompt(request, model, Sampling(), read_proposal))
    assert given == Proposal("M2/q000003", text, taken_as)


def test_a_held_out_set_is_answered_greedily_and_each_ranked_reply_judged_as_often_as_asked():
    ranked = RankedSet("s1", "Name a river.", (RankedReply("s1/r0", "Rhine", 0, 5.0), RankedReply("s1/r1", "Red", 1)))

    def answer(text: str, row: str) -> str:
        if row == "s1/answer":
            return "The Elbe."
        return "Score: 4" if "<reply>Rhine</reply>" in text else "Hm."

    model = ScriptedModel(answer)
    made = asyncio.run(evaluate_set(ranked, model, RESPOND, 2, JUDGE, RUBRIC))
    assert (made.answer.text, made.answer.finished) == ("The Elbe.", True)
    assert model.samplings["s1/answer"] == Sampling(temperature=0.0, max_tokens=9)
    assert [(r.id, r.set_id, r.rank, r.human_score) for r in made.judged] == [
        ("s1/r0", "s1", 0, 5.0),
        ("s1/r1", "s1", 1, None),
    ]
    assert [[(v.id, v.score, v.attempts) for v in r.verdicts] for r in made.judged] == [
        [("s1/r0/v0", 4.0, 1), ("s1/r0/v1", 4.0, 1)],
        [("s1/r1/v0", None, 3), ("s1/r1/v1", None, 3)],
    ]


def test_each_ranked_reply_gets_its_samples_and_the_judge_sees_what_was_said_before():
    shown: dict[str, str] = {}

    def answer(text: str, row: str) -> str:
        shown[row] = text
        return {"v0": "Score: 4", "v1": "Hm."}[row.split("/")[2]]

    before = (Turn("user", "Hi."), Turn("assistant", "Hello."))
    ranked = RankedSet("s", "Why?", (RankedReply("s/r0", "So.", 0), RankedReply("s/r1", "No.", 1)), before)
    made = asyncio.run(judge_set(ranked, ScriptedModel(answer), 2, Judge(retries=1), RUBRIC))
    assert (made.id, made.ranked, [r.id for r in made.judged]) == ("s", ranked, ["s/r0", "s/r1"])
    assert [(v.id, v.score, v.attempts) for v in made.judged[1].verdicts] == [
        ("s/r1/v0", 4.0, 1),
        ("s/r1/v1", None, 2),
    ]
    assert shown["s/r1/v0/a0"] == RUBRIC.render("User: Hi.\n\nAssistant: Hello.\n\nUser: Why?", "No.")


def test_a_held_out_prompt_is_answered_after_what_was_said_before():
    shown: dict[str, str] = {}

    def answer(text: str, row: str) -> str:
        shown[row] = text
        return "Score: 3"

    ranked = RankedSet("s", "Why?", (RankedReply("s/r0", "So.", 0),), (Turn("assistant", "Hello."),), group="dev")
    made = asyncio.run(evaluate_set(ranked, ScriptedModel(answer), RESPOND, 1, JUDGE, RUBRIC))
    assert shown["s/answer"] == "assistant: Hello.\nWhy?"
    assert made.answer.prompt == "Assistant: Hello.\n\nUser: Why?"  # as whoever compares the answer must see it
    assert made.group == "dev"


def test_a_later_turn_is_asked_with_the_turns_and_answers_before_it():
    shown: dict[str, str] = {}

    def says(text: str, row: str) -> Completion:
        shown[row] = text
        return completion(f"to {row}", "length" if row == "q/t1" else "stop")

    model = ScriptedModel(says)
    made = asyncio.run(answer_question(Question("q", ("One?", "Two?", "Three?"), "81"), model, RESPOND.sampling))
    assert shown == {
        "q/t0": "One?",
        "q/t1": "user: One?\nassistant: to q/t0\nTwo?",
        "q/t2": "user: One?\nassistant: to q/t0\nuser: Two?\nassistant: to q/t1\nThree?",
    }
    assert [(a.id, a.text, a.finished) for a in made.answers] == [
        ("q/t0", "to q/t0", True),
        ("q/t1", "to q/t1", False),
        ("q/t2", "to q/t2", True),
    ]
    assert (made.id, made.question.question_id) == ("q", "81")
    assert set(model.samplings.values()) == {RESPOND.sampling}


@pytest.mark.parametrize("constrained", [False, True])
def test_a_constrained_judge_has_to_end_in_a_score(constrained: bool):
    """16 of 50 tokens are reserved for the ending, so the reasons have at most 34 bytes."""
    model = ScriptedModel(lambda text, row: "Score: 4")
    judged(model, JUDGE.model_copy(update={"constrained": constrained}))
    assert model.patterns["r0/v0/a0"] == (RUBRIC.constrained_pattern(34) if constrained else None)


THOUGHT = "<think>\nScore: 2, I think.\n</think>\n\n"


@pytest.mark.parametrize(
    ("said", "text", "thought", "score"),
    [
        (THOUGHT + "Score: 4", "Score: 4", "Score: 2, I think.", 4.0),
        (THOUGHT, "", "Score: 2, I think.", None),
        ("<think>Score: 2", "", "Score: 2", None),
        ("Score: 2\n</think>\nGood.", "Good.", "Score: 2", None),
        ("Good.\n<think>Score: 2</think>", "Good.\n<think>Score: 2</think>", "", None),
        ("Good.\n<think>Score: 2", "Good.\n<think>Score: 2", "", None),
    ],
)
def test_a_score_in_a_thought_is_none(said: str, text: str, thought: str, score: float | None):
    verdict = judged(ScriptedModel(lambda *_: said), JUDGE.model_copy(update={"retries": 0}))
    assert (verdict.text, verdict.thought, verdict.score) == (text, thought, score)


def test_a_reply_is_judged_without_its_thought():
    shown: dict[str, str] = {}

    def answer(text: str, row: str) -> str:
        shown[row] = text
        return THOUGHT + ("Score: 4" if "/v" in row else "The Rhine." if "/r0" in row else "")

    row = answered(ScriptedModel(answer))
    first, second = row.candidates
    assert (first.text, first.thought, first.finished) == ("The Rhine.", "Score: 2, I think.", True)
    assert bytes(first.token_ids).decode() == THOUGHT + "The Rhine.", "all that was generated"
    assert (second.text, second.finished) == ("", True)
    assert shown["M2/p000000/r0/v0/a0"] == RUBRIC.render("Name a river.", "The Rhine.")
    assert [v.thought for v in first.verdicts] == ["Score: 2, I think."] * 2


def test_a_thought_without_an_end_is_no_finished_reply():
    said = {"r0": "<think>The Rhine.", "r1": completion("<think>The", "length")}
    model = ScriptedModel(lambda text, row: "Score: 4" if "/v" in row else said[row[-2:]])
    for candidate in answered(model).candidates:
        assert (candidate.text, candidate.finished) == ("", False)
        assert candidate.thought.startswith("The")


def test_what_a_model_has_parted_is_not_parted_again():
    given = Completion("<think> is a tag.", (1, 2, 3), "stop", thought="Hm.", thought_tokens=2)
    row = asyncio.run(sample(PROMPT, ScriptedModel(lambda *_: given), RESPOND))
    candidate = row.candidates[0]
    assert (candidate.text, candidate.thought, candidate.thought_tokens) == ("<think> is a tag.", "Hm.", 2)


def test_answers_and_proposals_are_without_thoughts_and_so_are_the_turns_before_a_later_one():
    shown: dict[str, str] = {}

    def says(text: str, row: str) -> str:
        shown[row] = text
        return f"{THOUGHT}to {row}"

    made = asyncio.run(answer_question(Question("q", ("One?", "Two?")), ScriptedModel(says), Sampling()))
    assert [(a.text, a.thought) for a in made.answers] == [(f"to q/t{n}", "Score: 2, I think.") for n in (0, 1)]
    assert shown["q/t1"] == "user: One?\nassistant: to q/t0\nTwo?"
    request = Prompt("M2/q000003", "Task 9:")
    given = asyncio.run(propose_prompt(request, ScriptedModel(lambda *_: THOUGHT + " Name a sea.\n"), Sampling(), str))
    assert given.text.strip() == "Name a sea."
    ranked = RankedSet("s", "Why?", (RankedReply("s/r0", "So.", 0),))
    evaluated = asyncio.run(evaluate_set(ranked, ScriptedModel(says), RESPOND, 1, JUDGE, RUBRIC))
    assert (evaluated.answer.text, evaluated.answer.thought) == ("to s/answer", "Score: 2, I think.")


def test_each_request_is_encoded_with_its_own_switch():
    model = ScriptedModel(lambda *_: "Score: 4")
    respond, judge = RESPOND.model_copy(update={"thinking": True}), JUDGE.model_copy(update={"thinking": False})
    asyncio.run(respond_and_judge(PROMPT, model, respond, judge, RUBRIC))
    assert model.thinking == [True, False, False]
    ranked = RankedSet("s", "Why?", (RankedReply("s/r0", "So.", 0),))
    model.thinking.clear()
    asyncio.run(evaluate_set(ranked, model, respond, 1, judge, RUBRIC))
    assert model.thinking == [True, False]
    model.thinking.clear()
    asyncio.run(answer_question(Question("q", ("One?",)), model, Sampling(), thinking=False))
    asyncio.run(propose_prompt(Prompt("q", "Task 9:"), model, Sampling(), str, thinking=True))
    assert model.thinking == [False, True]
