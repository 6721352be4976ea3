import random
import re
from statistics import mean

from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.demo.annotator import annotate, compose, demo_seed_sets, write_verdict
from selfreward_ray.demo.frames import FRAMES, OFF_TOPIC_FRAMES, PHRASES
from selfreward_ray.demo.verifier import kept_rules, parse_instruction, true_score
from selfreward_ray.demo.world import TOPICS, UNSEEN_WORDS, WORDS, Rule, is_left_out, write_instructions
from selfreward_ray.recipe.seed_data import SeedData
from selfreward_ray.seed.eft import DISAGREES, choose_eft, written_verdicts

ALL_TOPICS = tuple(topic for group in TOPICS.values() for topic in group)
INSTRUCTION = (
    'Write one sentence about rivers. Start with "Honestly". Include the word "quiet". '
    "Use lower case only. Put it in double quotes."
)


class LastNumber:
    def render(self, prompt: str, reply: str) -> str:
        return f"{prompt}\n{reply}"

    def read_score(self, text: str) -> float | None:
        return float(re.findall(r"Score: (\d)$", text)[0])


def test_the_stock_of_sentences_leaves_every_rule_to_the_annotator():
    assert len(set(FRAMES)) >= 40
    assert set(PHRASES) == {*WORDS["include"], *UNSEEN_WORDS["include"]}
    rule_words = {word.casefold() for known in (WORDS, UNSEEN_WORDS) for options in known.values() for word in options}
    reserved = rule_words | set(ALL_TOPICS)
    for frame in (*FRAMES, *OFF_TOPIC_FRAMES):
        words = frame.format(topic="").split()
        assert not reserved & set(words), frame
        assert frame == frame.lower()
        assert 6 <= len(words) + frame.count("{topic}") <= 14, frame
    for word, phrases in PHRASES.items():
        assert all(reserved & set(phrase.split()) == {word} for phrase in phrases)


@given(st.integers(0, 10**6), st.booleans())
def test_a_composed_reply_keeps_exactly_what_it_was_told_to_keep(seed, unseen):
    rng = random.Random(seed)
    (instruction,) = write_instructions(1, ALL_TOPICS, rng, unseen)
    rules = parse_instruction(instruction)
    kept = {rule.kind for rule in rules if rng.random() < 0.5}
    text = compose(rules, kept, rng)
    assert {kind for kind, ok in kept_rules(instruction, text).items() if ok} == kept, text


@given(st.integers(0, 10**6))
def test_replies_carry_the_verifiers_score_and_ranks_follow_it(seed):
    rng = random.Random(seed)
    (instruction,) = write_instructions(1, ALL_TOPICS, rng)
    replies = annotate("s", instruction, rng, replies=4).replies
    scores = [true_score(instruction, reply.text) for reply in replies]
    assert [reply.score for reply in replies] == scores
    assert [reply.rank for reply in replies] == [len({s for s in scores if s > score}) for score in scores]
    assert [int(reply.verdict.rsplit("Score: ")[-1]) for reply in replies] == scores


def test_the_verdict_shows_evidence_answer_and_running_total():
    assert write_verdict(INSTRUCTION, "The rivers run in a quiet way.").splitlines() == [
        "topic rivers: rivers run, yes, 1",
        'start "Honestly": The, no, 1',
        'include "quiet": quiet way, yes, 2',
        "lower case: The, no, 2",
        "quotes: The … way., no, 2",
        "Score: 2",
    ]


def test_the_verdict_on_the_other_kinds():
    instruction = (
        'Write one sentence about rivers. Use normal capital letters. End with "again". '
        'Do not use quotes. Start with "Today".'
    )
    assert write_verdict(instruction, "Rivers rise again.").splitlines() == [
        "topic rivers: Rivers rise, yes, 1",
        "normal capitals: Rivers, yes, 2",
        'end "again": again, yes, 3',
        "no quotes: Rivers, yes, 4",
        'start "Today": Rivers, no, 4',
        "Score: 4",
    ]


def test_the_verdict_on_a_word_that_must_not_be_used():
    instruction = INSTRUCTION.replace("Include the word", "Do not use the word")
    assert '\nexclude "quiet": quiet way, no, 1\n' in write_verdict(instruction, "The rivers run in a quiet way.")
    assert '\nexclude "quiet": quiet nowhere, yes, 2\n' in write_verdict(instruction, "The rivers run in a gentle way.")


def test_a_lower_case_reply_shows_no_capital():
    assert "\nlower case: none, yes, " in write_verdict(INSTRUCTION, "the rivers run.")
    capitals = INSTRUCTION.replace("Use lower case only", "Use normal capital letters")
    assert "\nnormal capitals: none, no, " in write_verdict(capitals, "the rivers run.")


def kept_share(keep: tuple[float, float]) -> float:
    rng = random.Random(0)
    instructions = write_instructions(500, TOPICS["seed"], rng)
    replies = [(i, annotate("s", i, rng, replies=1, keep=keep).replies[0].text) for i in instructions]
    return mean(ok for i, text in replies for kind, ok in kept_rules(i, text).items() if kind != "topic")


def test_keep_bounds_how_often_rules_are_kept():
    assert kept_share((0.0, 0.0)) == 0
    assert kept_share((1.0, 1.0)) == 1
    assert abs(kept_share((0.5, 0.5)) - 0.5) < 0.04
    assert abs(kept_share((0.15, 0.95)) - 0.55) < 0.04


def test_the_topic_is_missed_now_and_then():
    rng = random.Random(0)
    instructions = write_instructions(1000, TOPICS["seed"], rng)
    missed = [not kept_rules(i, annotate("s", i, rng, replies=1).replies[0].text)["topic"] for i in instructions]
    assert 0.12 < mean(missed) < 0.18


def test_a_broken_start_is_half_the_time_another_start_word():
    rng = random.Random(0)
    rules = parse_instruction(INSTRUCTION)
    openings = [compose(rules, {"topic"}, rng).split()[0] for _ in range(400)]
    others = {f"{word}," for word in WORDS["start"]} - {"Honestly,"}
    assert abs(mean(opening in others for opening in openings) - 0.5) < 0.08
    assert set(openings) >= others


def test_a_rule_is_broken_and_replaced_with_words_of_its_own_vocabulary():
    """Or the seed would show words that are to be unseen in the held-out set."""
    rng = random.Random(0)
    for unseen, strange in ((False, UNSEEN_WORDS), (True, WORDS)):
        for instruction in write_instructions(300, TOPICS["dev"], rng, unseen):
            words = set(
                compose(parse_instruction(instruction), set(), rng).lower().strip('".').replace(",", "").split()
            )
            assert not words & {word.casefold() for options in strange.values() for word in options}


def included(kept: set[str]) -> list[str | None]:
    rules = (Rule("topic", "rivers"), Rule("exclude", "quiet"))
    texts = [compose(rules, kept, random.Random(i)) for i in range(400)]
    return [next((word for word in WORDS["include"] if word in text), None) for text in texts]


def test_an_excluded_word_is_used_where_the_rule_is_broken_else_another_or_none():
    assert set(included(set())) == {"quiet"}
    kept = included({"exclude"})
    assert set(kept) == {None, *WORDS["include"]} - {"quiet"}
    assert abs(mean(word is None for word in kept) - 0.5) < 0.08


SIZES = SeedData(ift=60, eft=90, held_out=30)


def test_the_seed_data_are_as_many_as_asked_and_apart():
    sets = demo_seed_sets(SIZES, rng_seed=1)
    everything = [*sets.ift, *sets.eft, *sets.held_out]
    assert (len(sets.ift), len(sets.held_out)) == (60, 30)
    assert len({s.id for s in everything}) == len({s.prompt for s in everything}) == len(everything)
    assert len({r.id for s in everything for r in s.replies}) == sum(len(s.replies) for s in everything)
    assert {parse_instruction(s.prompt)[0].word for s in sets.held_out} <= set(TOPICS["topics"])
    assert {parse_instruction(s.prompt)[0].word for s in (*sets.ift, *sets.eft)} <= set(TOPICS["seed"])
    assert {s.group for s in sets.held_out} == {"topics"}


def test_each_held_out_set_has_its_prompts_topics_and_combinations():
    sets = demo_seed_sets(SIZES.model_copy(update={"held_out_groups": ("topics", "words", "dev")}), rng_seed=1)
    assert [s.group for s in sets.held_out] == ["topics"] * 30 + ["words"] * 30 + ["dev"] * 30
    for s in sets.held_out:
        topic, *rules = parse_instruction(s.prompt)
        assert topic.word in TOPICS[s.group]
        assert s.id.startswith(f"{s.group}/")
        assert is_left_out(rule.kind for rule in rules) == (s.group == "words")
        known = UNSEEN_WORDS if s.group == "words" else WORDS
        assert all(rule.word in known[rule.kind] for rule in rules if rule.word)
    assert not any(is_left_out(rule.kind for rule in parse_instruction(s.prompt)) for s in (*sets.ift, *sets.eft))


def test_what_is_held_out_or_left_out_changes_nothing_of_the_rest():
    """So a run without EFT has the same IFT rows, and a development set can be written beside a run."""
    whole = demo_seed_sets(SIZES, 1)
    other = demo_seed_sets(SeedData(ift=60, eft=0, held_out=20, held_out_groups=("dev", "topics")), 1)
    assert other.ift == whole.ift
    assert [s for s in other.held_out if s.group == "topics"] == whole.held_out[:20]


def test_ift_material_is_one_reply_a_set_that_tells_each_rule_from_its_opposite():
    """A rule kept half of the time is broken as often: such replies would say that the demand does not matter."""
    sets = demo_seed_sets(SeedData(ift=2000, eft=0, held_out=0), rng_seed=0).ift
    assert {len(s.replies) for s in sets} == {1}
    found = [one for s in sets for one in kept_rules(s.prompt, s.replies[0].text).items() if one[0] != "topic"]
    for kind in {kind for kind, _ in found}:
        assert abs(mean(ok for of, ok in found if of == kind) - 0.8) < 0.05


def test_the_seed_data_are_repeatable():
    assert demo_seed_sets(SIZES, 1) == demo_seed_sets(SIZES, 1)
    assert demo_seed_sets(SIZES, 1) != demo_seed_sets(SIZES, 2)


def test_the_seed_data_give_the_rows_that_the_recipe_asks_for():
    sets = demo_seed_sets(SIZES, 1)
    rows, dropped = choose_eft([written_verdicts(s, LastNumber()) for s in sets.eft], SIZES, LastNumber(), 1)
    assert len(sets.ift) == 60
    assert 90 <= len(rows) <= 92
    # The program never contradicts itself: only sets whose replies all tie are dropped.
    disagreeing = {d.id.rsplit("/", 1)[0] for d in dropped if d.reason == DISAGREES}
    assert disagreeing == {s.id for s in sets.eft if len({r.rank for r in s.replies}) == 1}
