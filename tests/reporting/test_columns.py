from dataclasses import replace

from reporting_examples import M0, M1, PAIR, SEED

from selfreward_ray.reporting.columns import STEP_COLUMNS, TEXT_COLUMNS, model_cells, model_columns, step_cells


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
    assert len(step_cells(SEED)) == len(STEP_COLUMNS)


def test_a_step_without_tokens_has_no_speed() -> None:
    assert step_cells(PAIR)[3:] == ("0", "2", "–", "0")


def test_word_columns_are_columns() -> None:
    assert set(TEXT_COLUMNS) <= {*model_columns("demo"), *STEP_COLUMNS}


def test_without_a_scorer_there_is_no_column_of_scores() -> None:
    with_score, without = model_columns("unit-tests"), model_columns(None)
    assert with_score == ("model", "unit-tests score %\n(95 %)", *without[1:])
    assert model_cells(M1, None) == (model_cells(M1, "unit-tests")[0], *model_cells(M1, "unit-tests")[2:])
