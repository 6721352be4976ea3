import json
from pathlib import Path

import pytest
from proof_examples import seed_rows

from selfreward_ray.demo.proof.claims import make_claims
from selfreward_ray.demo.proof.documents import document, markdown_table, published, write_documents
from selfreward_ray.demo.proof.figures import ProofFigures, pool_figures
from selfreward_ray.demo.proof.sections import main_table, sections
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.store.folder import Folder


@pytest.fixture
def figures() -> ProofFigures:
    return pool_figures([seed_rows(), seed_rows(shift=1)])


def test_the_published_figures_have_the_form_that_others_read(figures: ProofFigures):
    """M3's means are 90 and 70: 80 ± 12.706 · 20/√2/√2 = 127.06, by Student's t of one degree of freedom."""
    found = json.loads(json.dumps(published(figures)))
    assert set(found) == {"true_score", "conditional", "judge_spearman_fixed", "control", "seeds"}
    assert found["seeds"] == 2
    for scores in (found["true_score"], found["conditional"]):
        assert {name: set(by_model) for name, by_model in scores.items()} == {
            name: {"M0", "M1", "M2", "M3"} for name in ("topics", "words")
        }
    assert found["true_score"]["topics"]["M3"] == [80, -47.06, 207.06]
    assert found["judge_spearman_fixed"]["M2"] == [0.5, 0.5, 0.5]
    assert set(found["control"]) == {"random", "ceiling", "more_sft", "no_eft"}
    assert found["control"]["random"]["words"]["M2"][0] == 30
    assert list(found["control"]["no_eft"]["words"]) == ["M1"]


def test_the_document_has_every_table_and_says_what_is_not_held(figures: ProofFigures):
    text = document(figures, sections(figures, make_claims(figures)))
    titles = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "Claims", "Models", "Greedy answers", "Each seed", "Gains", "Controls", "Gains over the controls",
        "By rule: topics", "By rule: words", "The judge", "Scores given and true", "Head to head", "Answers", "Pairs",
    ]  # fmt: skip
    assert (
        "**The verifier agrees with 57.1 % of the 28 pairs that models were trained on.**" in text
    )  # 10 of 16, 6 of 12
    assert "seeds: 5, 6. The slowest" in text
    assert "| set | model | seed 5 | seed 6 |" in text
    assert "| topics: M3 > M2 > M1 in true score, the means | held | M1 40.0 (" in text
    assert (
        "| judge: Spearman of M2 on the fixed set not below the interval of M1 | NOT HELD | 0.500 against 1.000" in text
    )
    assert "| topics | M1 | 40.0 (12.3–67.7) | – | – | – | 30.0 (" in text  # no control but no_eft has an M1
    assert "| topics | M3 | 90.0 (70.4–109.6) | 70.0 (50.4–89.6) |" in text  # each seed by itself
    assert "| words | M1 | 40.0 (12.3–67.7) | 50.0 (-19.3–119.3) |" in text  # greedy: true score and conditional rules
    assert "| words | M3 over M1 | +40.0 (-87.1 to +167.1) | +50.0 (" in text
    assert "| topics | M2 | +30.0 (+16.1 to +43.9) | -20.0 (-20.0 to -20.0) | " in text
    assert "| M2 | 20 | 16 | 62.5 | 25.0 | 12.5 | 50.0 |" in text  # of 16 pairs 10 agree, 4 tie, 8 are the ceiling's
    assert "95 % intervals over prompts and seeds (2), " in text
    assert "| lower case | – / 100 |" in text
    assert "| M2 v M1 | the judge M1 | 2 | 0 | 2 | 75.0 (37.5–93.8) |" in text
    assert "| fixed | M3 | given | 2 | 2 | 0 | 0 | 0 | 0 | 2 |" in text


def test_every_row_of_a_table_is_as_wide_as_its_head(figures: ProofFigures):
    for section in sections(figures, make_claims(figures)):
        assert {len(row) for row in section.rows} == {len(section.columns)}, section.title


def test_the_chief_table_by_hand(figures: ProofFigures):
    *_, last = markdown_table(main_table(figures)).splitlines()
    scores = "80.0 (-47.1–207.1) | 100.0 (100.0–100.0)"
    assert last == f"| M3 | {scores} | {scores} | 0.000 (0.000–0.000) |"


def test_what_a_model_wrote_is_escaped(figures: ProofFigures, tmp_path: Path):
    write_documents(Folder(str(tmp_path)), Recipe(name="a<b", model="m0"), figures, make_claims(figures))
    page = (tmp_path / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{ 7 * 7 }} | a␛[31m" in page
    assert "<script" not in page
    assert "a&lt;b: does the loop improve a model?" in page
    assert page.count('class="plot"') == 4  # two sets, conditional rules, the judge
    assert "no_eft" in page
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "proof.md", "proof.json", "table.md"}


def test_without_controls_there_is_no_table_of_them():
    figures = pool_figures([seed_rows(controls=False)])
    text = document(figures, sections(figures, make_claims(figures)))
    assert "ontrols\n" not in text
    assert "| M2 | 10 | 8 | 62.5 | 25.0 | 12.5 | – |" in text


def test_one_seed_has_intervals_over_its_prompts_and_no_table_of_seeds():
    figures = pool_figures([seed_rows()])
    text = document(figures, sections(figures, make_claims(figures)))
    assert "95 % intervals over the prompts of one seed, " in text
    assert "## Each seed" not in text
