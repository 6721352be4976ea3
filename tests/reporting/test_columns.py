from dataclasses import replace

from reporting_examples import COMPARISON, ITERATION, M0, M1, PAIR, SEED

from selfreward_ray.reporting.columns import (
    ALARM_COLUMNS,
    COMPARISON_COLUMNS,
    FLAG_COLUMNS,
    ITERATION_COLUMNS,
    JUDGE_COLUMNS,
    LENGTH_COLUMNS,
    OUTCOME_COLUMNS,
    SHARED_COLUMNS,
    TEXT_COLUMNS,
    comparison_cells,
    flag_rows,
    iteration_cells,
    judge_cells,
    length_rows,
    model_cells,
    model_columns,
    outcome_rows,
    shared_rows,
    step_cells,
    step_columns,
)
from selfreward_ray.reporting.summary import SharedReply


def test_a_model_is_one_cell_a_column() -> None:
    assert model_cells(M1, "demo") == ("M1", "38.7 (32.9–44.8)", "61.2", "0.279", "4.1", "3,964", "1,058", "256")
    assert len(model_cells(M1, "demo")) == len(model_columns("demo"))


def test_what_was_not_measured_is_a_dash_and_never_a_zero() -> None:
    assert model_cells(M0, "demo") == ("M0", "21.1 (16.4–26.5)", "–", "–", "–", "–", "41", "256")
    assert model_cells(replace(M0, score=None), "demo")[1] == "–"
    assert model_cells(replace(M0, score_low=None), "demo")[1] == "21.1"


def test_a_measured_zero_is_a_zero() -> None:
    assert model_cells(replace(M1, score=0.0, score_low=0.0, spearman=0.0, pairs=0), "demo")[1:6] == (
        "0.0 (0.0–44.8)",
        "61.2",
        "0.000",
        "4.1",
        "0",
    )


def test_drop_reasons_stand_one_a_line_the_commonest_first() -> None:
    assert step_cells(SEED) == (
        "M1",
        "seed",
        "4,830",
        "512,033",
        "1,033",
        "495",
        "1,204 order disagrees\n88 unreadable",
    )
    assert len(step_cells(SEED)) == len(step_columns())


def test_a_step_without_tokens_has_no_speed() -> None:
    assert step_cells(PAIR)[3:] == ("0", "2", "–", "0")


def test_word_columns_are_columns() -> None:
    tables = [model_columns("demo"), step_columns(), JUDGE_COLUMNS, ITERATION_COLUMNS, OUTCOME_COLUMNS, LENGTH_COLUMNS]
    tables += [ALARM_COLUMNS, COMPARISON_COLUMNS, FLAG_COLUMNS, SHARED_COLUMNS]
    assert set(TEXT_COLUMNS) <= {column for table in tables for column in table}


def test_without_a_scorer_there_is_no_column_of_scores() -> None:
    with_score, without = model_columns("unit-tests"), model_columns(None)
    assert with_score == ("model", "unit-tests score %\n(95 %)", *without[1:])
    assert model_cells(M1, None) == (model_cells(M1, "unit-tests")[0], *model_cells(M1, "unit-tests")[2:])


def test_the_start_of_engines_is_a_column_of_its_own_where_asked_for() -> None:
    assert step_columns(True)[5] == "of these\nengine start"
    assert step_cells(replace(PAIR, engine_start_seconds=41.4), True)[4:6] == ("2", "41")
    assert step_cells(PAIR, True)[5] == "–"
    assert len(step_cells(PAIR, True)) == len(step_columns(True))


def test_judge_and_candidates_are_one_cell_a_column() -> None:
    assert judge_cells(M1) == ("M1", "61.2", "40.0", "–", "0.279", "0.233", "4.1", "–")
    assert len(judge_cells(M1)) == len(JUDGE_COLUMNS)
    assert iteration_cells(ITERATION) == ("M1", "M0", "5,000", "20,000", "2.1", "30.0", "12.5", "44.0", "1.3")
    assert len(iteration_cells(ITERATION)) == len(ITERATION_COLUMNS)
    assert len(comparison_cells(COMPARISON)) == len(COMPARISON_COLUMNS)


def test_outcomes_are_shares_of_the_prompts_of_an_iteration() -> None:
    assert outcome_rows([ITERATION]) == [
        ("M1", "pair", "3,964", "79.3"),
        ("M1", "no lower candidate differs in text", "1,036", "20.7"),
    ]


def test_flagged_and_shared_replies_are_shares_of_candidates_and_of_prompts() -> None:
    shared = (SharedReply("Positive", 1000, True), SharedReply("Sure!", 250, False))
    found = replace(ITERATION, flagged={"the same text for many prompts": 500}, shared=shared)
    assert flag_rows([ITERATION, found]) == [("M1", "the same text for many prompts", "500", "2.5")]
    assert shared_rows([found]) == [
        ("M1", "Positive", "an answer, may be chosen", "1,000", "20.0"),
        ("M1", "Sure!", "flagged", "250", "5.0"),
    ]
    assert len(flag_rows([found])[0]) == len(FLAG_COLUMNS)
    assert len(shared_rows([found])[0]) == len(SHARED_COLUMNS)


def test_lengths_are_of_models_and_of_the_pairs_that_they_were_trained_on() -> None:
    rows = length_rows([M0, replace(M1, unfinished=0.25)], [ITERATION, replace(ITERATION, model="M2")])
    assert [row[0] for row in rows] == ["M0", "M1", "M2"]
    assert rows[0] == ("M0", "41", *["–"] * 8)
    assert rows[1] == ("M1", "1,058", "52", "31", "4.50", "2.25", "25.0", "–", "–", "–")
    assert rows[2][1:3] == ("–", "52")
    assert {len(row) for row in rows} == {len(LENGTH_COLUMNS)}
