from dataclasses import replace

from reporting_examples import M0, M1, PAIR, SEED

from selfreward_ray.reporting.columns import MODEL_COLUMNS, STEP_COLUMNS, WORDS, model_cells, step_cells


def test_a_model_is_one_cell_a_column() -> None:
    assert model_cells(M1) == ("M1", "38.7 (32.9–44.8)", "61.2", "0.279", "4.1", "3,964", "1,058", "256")
    assert len(model_cells(M1)) == len(MODEL_COLUMNS)


def test_what_was_not_measured_is_a_dash_and_never_a_zero() -> None:
    assert model_cells(M0) == ("M0", "21.1 (16.4–26.5)", "–", "–", "–", "–", "41", "256")
    assert model_cells(replace(M0, true_score=None))[1] == "–"
    assert model_cells(replace(M0, true_score_low=None))[1] == "21.1"


def test_a_measured_zero_is_a_zero() -> None:
    assert model_cells(replace(M1, true_score=0.0, true_score_low=0.0, spearman=0.0, pairs=0))[1:6] == (
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
    assert set(WORDS) <= {*MODEL_COLUMNS, *STEP_COLUMNS}
