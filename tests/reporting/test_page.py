import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from reporting_examples import (
    COMPARISON,
    DIFFERENCE,
    FINDING,
    ITERATION,
    LONG_WORD,
    M0,
    M1,
    NOTHING,
    OUTCOMES,
    PAIR,
    RUN,
    SAMPLE,
    SEED,
    TRAINING,
    data,
    prompt,
)

from selfreward_ray.alarms.check import Fired
from selfreward_ray.evaluation.outcomes import Outcomes
from selfreward_ray.reporting import page as page_module
from selfreward_ray.reporting.instruments import Instruments
from selfreward_ray.reporting.page import content_policy
from selfreward_ray.reporting.pairs_data import PairArchive
from selfreward_ray.reporting.summary import RunSummary, SharedReply
from selfreward_ray.store.rejection import Rejection

VOID = {"meta", "img", "input"}


def render_page(summary: RunSummary) -> str:
    return page_module.render_page(summary, NOTHING)


class Page(HTMLParser):
    """Tags, attributes and the text of a page as a browser would take them apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.elements: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.elements.append((tag, attrs))
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.elements.append((tag, attrs))
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def hostile(text: str) -> RunSummary:
    """A run in which every string that a page shows is `text`."""
    return replace(
        RUN,
        name=text,
        recipe_yaml=text,
        scorer=text,
        models=(replace(M1, model=text),),
        steps=(replace(PAIR, model=text, step=text, dropped={text: 3}),),
        samples=(replace(SAMPLE, model=text, prompt=text, chosen=text, rejected=text),),
        unfinished=(text,),
        findings=(replace(FINDING, kind=text, models=text, text=text),),
        comparisons=(replace(COMPARISON, name=text, left=text, right=text, judge=text),),
        iterations=(
            replace(
                ITERATION,
                model=text,
                judge=text,
                outcomes={text: 3},
                flagged={text: 2},
                shared=(SharedReply(text, 40, True),),
            ),
        ),
        trainings=(replace(TRAINING, title=text),),
        differences=(replace(DIFFERENCE, field=text, here=text, paper=text, about=text),),
        versions={text: text},
    )


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "</div></td></svg></title></style><iframe src=//x></iframe>",
        "{{ 7 * 7 }}{% include 'x' %}",
        "-->]]>&lt;&#60;script&#62;",
    ],
)
def test_a_string_adds_no_markup_wherever_it_stands(attack: str) -> None:
    """The harmless text is as long: longer names are shortened on an axis."""
    page, harmless = Page(render_page(hostile(attack))), Page(render_page(hostile("plain and harmless")))
    assert page.tags == harmless.tags
    assert {name for name, _ in page.attributes} == {name for name, _ in harmless.attributes}
    assert page.text.count(attack) == harmless.text.count("plain and harmless") > 20
    assert page.open == []


def test_control_characters_and_half_pairs_are_shown_not_sent() -> None:
    html = render_page(hostile("a\x00b\x1bc\ud800"))
    assert "a␀b␛c\ufffd" in html
    assert not {"\x00", "\x1b"} & set(html)
    html.encode("utf-8")


def test_wide_tables_scroll_in_their_own_box_which_the_keyboard_reaches() -> None:
    page = Page(render_page(RUN))
    boxes = [dict(attributes) for tag, attributes in page.elements if dict(attributes).get("class") == "scroll"]
    assert len(boxes) == page.tags.count("table") == page.tags.count("caption") == 9
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)
    style = style_of(render_page(RUN))
    assert ".text { white-space: pre-wrap; overflow-wrap: anywhere;" in style
    assert ".scroll { overflow-x: auto; }" in style


def test_a_long_reply_is_shortened_on_the_page_itself() -> None:
    page = Page(render_page(replace(RUN, samples=(replace(SAMPLE, chosen="x" * 2_000_000),))))
    assert "x" * 4000 + " … (1,996,000 more characters)" in page.text
    assert LONG_WORD in Page(render_page(RUN)).text


def style_of(html: str) -> str:
    return html.split("<style>")[1].split("</style>")[0]


def test_the_page_loads_nothing_and_runs_only_its_own_script() -> None:
    """Data blocks have a type of their own, which browsers do not run."""
    html = page_module.render_page(RUN, data(prompt()))
    page = Page(html)
    assert not {"link", "img", "iframe", "object", "base"} & set(page.tags)
    references = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action")]
    assert references
    assert all(value is not None and value.startswith("#") for value in references)
    assert not [name for name, _ in page.attributes if name == "style" or name.startswith("on")]
    assert "@import" not in html
    assert "url(" not in html
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", html, re.DOTALL)
    run = [content for attributes, content in scripts if "type=" not in attributes]
    blocks = [re.search('type="([^"]*)"', attributes)[1] for attributes, _ in scripts if "type=" in attributes]  # type: ignore[index]
    assert set(blocks) == {"application/gzip+base64"}
    assert [name for name in ("index", "t0", "v0") if f'id="{name}">' in html] == ["index", "t0", "v0"]
    (policy,) = [v for n, v in page.attributes if n == "content" and v is not None and v.startswith("default-src")]
    hashes = {name: pin(text) for name, text in (("script-src", run[0]), ("style-src", style_of(html)))}
    assert policy.split("; ") == [
        "default-src 'none'",
        *(f"{name} 'sha256-{value}'" for name, value in hashes.items()),
        "base-uri 'none'",
        "form-action 'none'",
    ]


def pin(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_a_page_without_pairs_runs_no_script() -> None:
    page = Page(render_page(replace(RUN, iterations=())))
    assert "script" not in page.tags
    assert "script-src 'none'" in content_policy()


def test_the_script_cannot_end_early_and_makes_no_markup() -> None:
    script = page_module._asset("report.js")
    assert "</script" not in script
    assert "<!--" not in script
    assert not re.search("innerHTML|outerHTML|insertAdjacentHTML|document.write|eval|new Function", script)


def test_figures_reasons_samples_and_recipe_are_there() -> None:
    text = Page(render_page(RUN)).text
    for shown in (
        "38.7 (32.9–44.8)",
        "0.279",
        "1,204 order disagrees\n88 unreadable",
        "chosen 4.67",
        "rejected 1.33",
        "M1 · seed",
        "17:13",
        "model: '<b>'",
        "512,033 tokens",
        "The demo score of M1 is 17.6 percentage points higher.",
        "no lower candidate differs in text",
        "3 optimizer steps. 1 skipped",
        "dpo.beta",
        "2.60.0",
        "–",
    ):
        assert shown in text


def test_bars_are_relative_to_the_longest_step() -> None:
    html = render_page(RUN)
    assert '<rect width="100.00" height="4"/>' in html
    assert '<rect width="0.20" height="4"/>' in html


def test_every_section_has_a_heading_that_the_contents_lead_to() -> None:
    page = Page(render_page(RUN))
    headings = [dict(attributes)["id"] for tag, attributes in page.elements if tag == "h2"]
    links = [dict(attributes)["href"] for tag, attributes in page.elements if tag == "a"]
    assert links == [f"#{name}" for name in headings]
    assert headings == ["better", "judge", "alarms", "pairs", "training", "lengths", "cost", "recipe"]


def test_every_plot_has_a_label_with_its_values() -> None:
    page = Page(render_page(RUN))
    labels = [dict(a)["aria-label"] or "" for tag, a in page.elements if tag == "svg" and dict(a).get("role") == "img"]
    assert "demo score, %, axis from 0 to 100. score: M0 21.06 (16.4 to 26.5), M1 38.7 (32.9 to 44.8)" in labels
    assert "pairwise accuracy, %, axis from 0 to 100. pairwise accuracy: M1 61.2 (59 to 65)" in labels
    correlations = "rank correlation, axis from -1 to 1. Spearman: M1 0.279 (0.2 to 0.31); Kendall: M1 0.233"
    assert correlations in labels
    win_rate = "win rate, %, ties count half, axis from 0 to 100. against the model before: M1 61.7 (55.6 to 67.4)"
    assert win_rate in labels


def test_no_axis_exaggerates() -> None:
    """A share has its whole axis, a correlation too, and any other axis has 0."""
    page = Page(render_page(RUN))
    labels = [dict(a)["aria-label"] or "" for tag, a in page.elements if tag == "svg" and dict(a).get("role") == "img"]
    whole = {"%": (0.0, 100.0), "rank correlation": (-1.0, 1.0)}
    ends = {}
    for label in labels:
        unit, low, high = re.match(r"(.*), axis from (\S+) to (\S+?)\. ", label).groups()  # type: ignore[union-attr]
        ends[unit] = float(low.replace(",", "")), float(high.replace(",", ""))
    assert len(labels) == page.attributes.count(("class", "plot")) == 11
    for unit, (low, high) in ends.items():
        kind = next((kind for kind in whole if kind in unit), None)
        assert (low, high) == whole[kind] if kind else low <= 0 <= high, unit
    assert sum("%" in unit for unit in ends) == 6


def test_chance_is_on_the_plots_where_it_is_known() -> None:
    html = render_page(RUN)
    plots = [plot for plot in html.split("<figure>")[1:] if 'class="chance"' in plot]
    captions = [re.match("<figcaption>(.*?)</figcaption>", plot)[1].split(",")[0].split(":")[0] for plot in plots]  # type: ignore[index]
    assert captions == [
        "Head to head by the judge of this run", "Pairs of replies ranked as humans did",
        "Correlation with the human ranks", "Accuracy",
    ]  # fmt: skip


def test_each_of_several_models_has_its_win_rate_against_the_one_before_and_against_the_first() -> None:
    worse = vars(Outcomes(7, 13, 0, 0.35, [0.2, 0.5], None, None, 0, 0))
    models = (M0, M1, replace(M1, model="M2", against={"M0": OUTCOMES, "M1": worse}))
    html = render_page(replace(RUN, models=models))
    assert (
        "against the model before: M1 61.7 (55.6 to 67.4), M2 35 (20 to 50); against the first model: M1 61.7" in html
    )
    unmeasured = vars(Outcomes(0, 0, 0, None, None, None, None, 0, 0))
    assert "Head to head by" not in render_page(replace(RUN, models=(M0, replace(M1, against={"M0": unmeasured}))))


def test_a_judge_of_the_runs_own_models_is_said_to_be_related_to_them() -> None:
    """Where it compared something. The plot of win rates names it too."""
    own, other = (Instruments(judge=f"{name}, of these tests", related=name == "M1") for name in ("M1", "gpt"))
    note = "is made from the same base model as the models that it compares"
    assert note in Page(render_page(replace(RUN, instruments=own))).text
    assert note not in Page(render_page(replace(RUN, instruments=other))).text
    assert note not in Page(render_page(replace(RUN, instruments=own, models=(M0, replace(M1, against={}))))).text
    assert "Head to head by gpt, of these tests, with 95 % intervals" in render_page(replace(RUN, instruments=other))


def test_the_answer_and_what_is_rejected_stand_above_the_sections() -> None:
    rejection = Rejection(1, 2, "win_rate", "M1 · against M0", 0.3, 0.5, "It loses.")
    top, below = render_page(replace(RUN, rejections=(rejection,), planned_models=2)).split("</header>")
    assert '<p class="answer">Every evaluated model after M0 is rejected: use M0; no alarm fired.</p>' in top
    assert "M1 is rejected by the alarm win_rate after M1 · against M0: no model from M2 on starts from it." in top
    assert '<p class="warning">M1 is rejected by the alarm win_rate.</p>' in below
    assert "include 50 %" in below


def test_the_table_of_alarms_shows_what_the_run_did() -> None:
    alarm = Fired("win_rate", "M1 · against M0", 1, 0.3, 0.5, "stop", "It loses.", "none: a later model was trained")
    assert '<td class="word">none: a later model was trained</td>' in render_page(replace(RUN, alarms=(alarm,)))


def test_added_comparisons_are_a_table_of_their_own_with_their_judge() -> None:
    html = render_page(RUN)
    page = Page(html)
    assert html.count('title="RUN/M1/evaluation">M1</td>') == 1
    rows = ["gpt", "M1", "other/answers", "a-judge", "256", "130", "70", "56", "61.7 (55.6–67.4)"]
    assert "".join(page.text.split("\n")).find("".join([*rows, "58.0 (51.0–65.0)", "30", "12"])) > 0
    assert "Comparisons that were added" not in render_page(replace(RUN, comparisons=()))


def test_plots_are_drawn_of_what_was_measured() -> None:
    def drawn(summary: RunSummary) -> int:
        return render_page(summary).count('class="plot"')

    bare = replace(RUN, models=(replace(M0, score=None),), iterations=(), trainings=())
    assert drawn(bare) == 1  # the length of the answers
    assert drawn(replace(bare, models=(M0,))) == 2
    assert drawn(replace(bare, models=(M0, M1))) == 6  # win rate, accuracy, correlations, 5-best
    assert drawn(RUN) == 6 + 1 + 1 + 3  # histogram, scores of the pairs, three curves


def test_a_run_in_progress_says_what_is_finished_and_what_is_next() -> None:
    text = Page(render_page(replace(RUN, unfinished=("M2 · DPO", "M2 · evaluate")))).text
    assert "2 of 4 steps finished" in text
    assert "This run is not complete. Next: M2 · DPO" in text
    assert "M2 · evaluate: not finished" in text
    assert "not complete" not in Page(render_page(RUN)).text


def test_the_start_of_engines_has_a_column_where_it_was_measured() -> None:
    started = replace(PAIR, engine_start_seconds=41.4)
    assert "engine start" not in Page(render_page(RUN)).text
    assert "engine start" in Page(render_page(replace(RUN, steps=(SEED, started)))).text


def test_the_page_says_what_it_has_no_room_for() -> None:
    archive = PairArchive(1, room=0)
    archive.begin("M2")
    archive.add(prompt())
    text = Page(page_module.render_page(RUN, archive.finish())).text
    assert "This page has room for 0 of the 1 prompts of M2" in text
    assert "M2/judged/rows" in text
    assert "has room" not in Page(page_module.render_page(RUN, data(prompt()))).text


def test_an_empty_run_is_a_page_too() -> None:
    page = Page(render_page(RunSummary("early", "model: m\n", None, (), (), ())))
    assert "A few pairs" not in page.text
    assert "0 models" in page.text
    assert "No candidates are judged yet." in page.text
    assert "No training has written its log yet." in page.text


def test_the_same_run_gives_the_same_bytes() -> None:
    assert page_module.render_page(RUN, data(prompt())) == page_module.render_page(RUN, data(prompt()))


def test_flagged_replies_and_those_that_many_prompts_share_have_tables() -> None:
    """Without any, there is no table."""
    shared = (SharedReply("Positive", 2000, True), SharedReply("I cannot say.", 300, False))
    iteration = replace(ITERATION, flagged={"the same text for many prompts": 300}, shared=shared)
    text = Page(render_page(replace(RUN, iterations=(iteration,)))).text
    for shown in ("Candidates that could not be chosen", "the same text for many prompts", "I cannot say.", "Positive"):
        assert shown in text
    assert "an answer, may be chosen" in text
    plain = Page(render_page(RUN)).text
    assert "Candidates that could not be chosen" not in plain
    assert "Replies that many prompts share" not in plain
