from dataclasses import replace
from html.parser import HTMLParser

import pytest
from reporting_examples import LONG_WORD, M0, M1, PAIR, RUN, SAMPLE

from selfreward_ray.reporting.page import render_page
from selfreward_ray.reporting.summary import RunSummary

VOID = {"meta", "path", "use", "img"}


class Page(HTMLParser):
    """Tags, attributes and the text of a page as a browser would take them apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
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
        models=(replace(M1, model=text),),
        steps=(replace(PAIR, model=text, step=text, dropped={text: 3}),),
        samples=(replace(SAMPLE, model=text, prompt=text, chosen=text, rejected=text),),
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
    page, harmless = Page(render_page(hostile(attack))), Page(render_page(hostile("plain")))
    assert page.tags == harmless.tags
    assert {name for name, _ in page.attributes} == {name for name, _ in harmless.attributes}
    assert page.text.count(attack) == harmless.text.count("plain") > 0
    assert page.open == []


@pytest.mark.filterwarnings("ignore:Glyph")
def test_control_characters_and_half_pairs_are_shown_not_sent() -> None:
    html = render_page(hostile("a\x00b\x1bc\ud800"))
    assert "a␀b␛c\ufffd" in html
    assert not {"\x00", "\x1b"} & set(html)
    html.encode("utf-8")


def test_long_words_break_and_wide_tables_scroll_in_their_own_box() -> None:
    html = render_page(RUN)
    assert LONG_WORD in html
    assert ".text { white-space: pre-wrap; overflow-wrap: anywhere;" in html
    assert ".scroll { overflow-x: auto; }" in html
    assert html.count('<div class="scroll" tabindex="0">') == html.count("<table>") == 2


def test_the_page_needs_nothing_beside_itself() -> None:
    page = Page(render_page(RUN))
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(page.tags)
    references = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action")]
    assert references
    assert all(value is not None and value.startswith("#") for value in references)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    assert "@import" not in page.text
    assert "//" not in page.text


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
        "–",
    ):
        assert shown in text


def test_bars_are_relative_to_the_longest_step() -> None:
    html = render_page(RUN)
    assert 'style="width: 100.00%"' in html
    assert 'style="width: 0.20%"' in html


def test_both_plots_are_drawn_where_there_are_scores() -> None:
    assert Page(render_page(RUN)).tags.count("svg") == 2
    assert Page(render_page(replace(RUN, models=(M0,)))).tags.count("svg") == 1


def test_an_empty_run_is_a_page_too() -> None:
    page = Page(render_page(RunSummary("early", "model: m\n", None, (), (), ())))
    assert "svg" not in page.tags
    assert "Sample pairs" not in page.text
    assert "0 models" in page.text


def test_the_same_run_gives_the_same_bytes() -> None:
    assert render_page(RUN) == render_page(RUN)
