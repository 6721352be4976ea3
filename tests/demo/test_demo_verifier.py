import pytest

from selfreward_ray.demo.verifier import (
    check,
    checks,
    habits,
    is_demo_instruction,
    kept_rules,
    parse_instruction,
    true_score,
)
from selfreward_ray.demo.world import Rule

INSTRUCTION = (
    'Write one sentence about rivers. End with "together". Use lower case only. '
    'Start with "Honestly". Put it in double quotes.'
)


def test_an_instruction_is_read_in_its_order():
    assert parse_instruction(INSTRUCTION) == (
        Rule("topic", "rivers"),
        Rule("end", "together"),
        Rule("lower case"),
        Rule("start", "Honestly"),
        Rule("quotes"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Why is the sky blue?",
        "Write one sentence about rivers.",
        INSTRUCTION + " Do not use quotes.",
        INSTRUCTION.replace("Put it in double quotes.", "Use normal capital letters."),  # two rules of one aspect
        INSTRUCTION.replace("Write one sentence about rivers. ", ""),
        INSTRUCTION.replace("Put it in double quotes.", "Write one sentence about bread."),
        INSTRUCTION.replace("Write one sentence about rivers. ", "") + " Write one sentence about rivers.",
        INSTRUCTION.replace("Put it in double quotes.", "Rhyme."),
        INSTRUCTION.replace('"together"', "together"),
        INSTRUCTION + " ",
    ],
)
def test_any_other_text_is_refused(text):
    assert not is_demo_instruction(text)
    with pytest.raises(ValueError, match="not a"):
        true_score(text, "Rivers run.")


def test_a_demo_instruction_is_recognised():
    assert is_demo_instruction(INSTRUCTION)


@pytest.mark.parametrize(
    ("rule", "reply", "evidence", "passed"),
    [
        (Rule("topic", "rivers"), "We love RIVERS.", "RIVERS", True),
        (Rule("topic", "rivers"), '"Rivers, mostly."', "Rivers mostly", True),
        (Rule("topic", "rivers"), "The river runs.", "rivers nowhere", False),
        (Rule("topic", "rivers"), "We see riversides.", "rivers nowhere", False),
        (Rule("topic", "rivers"), "It is a sea—rivers end there.", "rivers end", True),
        (Rule("include", "quiet"), "A (quiet) day.", "quiet day", True),
        (Rule("include", "quiet"), "A _quiet_ day.", "quiet day", True),
        (Rule("include", "quiet"), "They speak quietly.", "quiet nowhere", False),
        (Rule("include", "quiet"), "A quiet-ish day.", "quiet nowhere", False),
        (Rule("exclude", "quiet"), "A Quiet day.", "Quiet day", False),
        (Rule("exclude", "quiet"), "They speak quietly.", "quiet nowhere", True),
        (Rule("exclude", "quiet"), "", "quiet nowhere", False),
        (Rule("start", "Honestly"), "Honestly, I do.", "Honestly", True),
        (Rule("start", "Honestly"), ' "honestly we do"', "honestly", True),
        (Rule("start", "Honestly"), "Well, honestly.", "Well", False),
        (Rule("start", "Today"), "Today's news is good.", "Today's", False),
        (Rule("start", "Honestly"), "", "none", False),
        (Rule("start", "none"), "...", "none", False),
        (Rule("end", "together"), "We walk together.", "together", True),
        (Rule("end", "together"), "“We walk together!”\n", "together", True),
        (Rule("end", "together"), "We walk altogether.", "altogether", False),
        (Rule("end", "together"), "Together we walk.", "walk", False),
        (Rule("lower case"), "we walk.", "none", True),
        (Rule("lower case"), "we WALK and Run.", "WALK", False),
        (Rule("lower case"), "my iPhone rings.", "iPhone", False),
        (Rule("lower case"), "12 345", "none", False),
        (Rule("lower case"), "", "none", False),
        (Rule("normal capitals"), "We walk.", "We", True),
        (Rule("normal capitals"), '"We walk."', "We", True),
        (Rule("normal capitals"), "we walk, We run.", "none", False),
        (Rule("normal capitals"), "WE WALK.", "WE", False),
        (Rule("normal capitals"), "I CAN walk.", "I", True),
        (Rule("normal capitals"), "", "none", False),
        (Rule("quotes"), '"We walk."', '"We … walk."', True),
        (Rule("quotes"), " “We walk.”\n", "“We … walk.”", True),
        (Rule("quotes"), '"We" walk.', '"We" … walk.', False),
        (Rule("quotes"), 'We say "walk."', 'We … "walk."', False),
        (Rule("quotes"), '"We walk".', '"We … walk".', False),
        (Rule("quotes"), "'We walk.'", "'We … walk.'", False),
        (Rule("quotes"), '"', '" … "', False),
        (Rule("quotes"), '""', '"" … ""', False),
        (Rule("no quotes"), "We don't walk.", "We", True),
        (Rule("no quotes"), 'We "walk".', '"walk"', False),
        (Rule("no quotes"), "We walk”", "walk”", False),
        (Rule("no quotes"), "", "none", False),
        (Rule("no quotes"), " :\n", ":", False),
    ],
)
def test_a_check(rule, reply, evidence, passed):
    found = check(rule, reply)
    assert (found.evidence, found.passed) == (evidence, passed)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('"honestly, we watch rivers together."', 5),
        ('"Honestly, we watch rivers together."', 4),
        ("Honestly, we watch rivers together.", 3),
        ("Honestly, we watch rivers.", 2),
        ("Honestly, we watch the sea.", 1),
        ("We watch the sea.", 0),
        ("", 0),
    ],
)
def test_the_true_score_counts_the_checks(reply, score):
    assert true_score(INSTRUCTION, reply) == score


def test_an_empty_reply_earns_nothing_for_what_it_leaves_out():
    assert true_score(INSTRUCTION.replace("Put it in double quotes.", "Do not use quotes."), "  ") == 0


def test_kept_rules_and_checks_follow_the_instruction():
    reply = "Honestly, we watch rivers together."
    assert list(kept_rules(INSTRUCTION, reply).items()) == [
        ("topic", True),
        ("end", True),
        ("lower case", False),
        ("start", True),
        ("quotes", False),
    ]
    assert [c.rule for c in checks(INSTRUCTION, reply)] == list(parse_instruction(INSTRUCTION))


@pytest.mark.parametrize(
    ("left_open", "reply", "found"),
    [
        ("Start with", "surely, we watch rivers", {"start": True}),  # one of the unseen words
        ("Start with", "we surely watch rivers", {"start": False}),
        ("Do not use", "a calm day", {"include": True, "exclude": False}),
        ("Do not use", "a day", {"include": False, "exclude": True}),
        ("Do not use", "", {"include": False, "exclude": False}),
        ("Put it in", '"we walk"', {"quotes": True, "no quotes": False}),
        ("Use lower", "we walk", {"lower case": True, "normal capitals": False}),
        ("Use lower", "WE WALK", {"lower case": False, "normal capitals": False}),
    ],
)
def test_a_habit_is_a_rule_that_is_kept_though_its_aspect_is_left_open(left_open, reply, found):
    every = [*INSTRUCTION.split(". "), 'Do not use the word "quiet".']
    asked = ". ".join(sentence.rstrip(".") for sentence in every if not sentence.startswith(left_open)) + "."
    assert habits(asked, reply) == found
