"""The report page as a reader uses it: list, search, filters, lineage, keyboard, widths."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reported_run import write_run
from rich.console import Console

from selfreward_ray.steps.report import report

pytestmark = pytest.mark.browser


def expect(target: Any) -> Any:
    """Playwright's assertions, which wait. Imported here: other tests are collected without it."""
    from playwright.sync_api import expect

    return expect(target)


ATTACK = '<script>alert(1)</script><img src=x onerror="alert(2)">'


@pytest.fixture(scope="session")
def report_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a whole run, in which models wrote markup, Hebrew and a long word."""

    def text(said: str) -> str:
        return f"{said} {ATTACK} עברית \u202e {'W' * 300}" if "salt" in said else said

    folder = tmp_path_factory.mktemp("run")
    with (folder / "log").open("w") as log:
        report(write_run(folder, prompts=60, text=text).uri, Console(file=log))
    return folder / "report.html"


@pytest.fixture
def page(opened: Callable[..., Any], report_page: Path) -> Any:
    found = opened(report_page)
    expect(found.locator("#rows li")).to_have_count(20)
    return found


def counted(page: Any) -> int:
    """How many prompts the count says are found."""
    return int(page.inner_text("#count").split(" ")[0])


def facts(page: Any) -> list[str]:
    return page.locator("#rows .facts").all_inner_texts()


def test_the_list_shows_a_window_of_all_prompts(page: Any):
    expect(page.locator("#count")).to_have_text("120 of 120 prompts, 1 to 20 shown")
    expect(page.locator("#previous")).to_be_disabled()
    assert facts(page)[0].startswith("M2/p000000 · ")
    page.click("#next")
    expect(page.locator("#count")).to_have_text("120 of 120 prompts, 21 to 40 shown")
    assert facts(page)[0].startswith("M2/p000020 · ")
    for _ in range(4):
        page.click("#next")
    expect(page.locator("#next")).to_be_disabled()
    assert facts(page)[-1].startswith("M3/p000059 · ")


def test_a_prompt_opens_with_all_replies_and_all_verdicts(page: Any):
    page.select_option("#outcome", label="pair")
    expect(page.locator("#count")).not_to_have_text(re.compile("^120 of"))
    page.click("#rows .row >> nth=0")
    expect(page.locator("#rows .row >> nth=0")).to_have_attribute("aria-expanded", "true")
    replies = page.locator(".opened .reply")
    expect(replies).to_have_count(3)
    assert re.fullmatch(r"chosen mean \d\.\d\d · \d+ words · r\d.*", replies.nth(0).locator("h4").inner_text())
    assert page.locator(".opened .reply.rejected").count() == 1
    summary = replies.nth(0).locator("summary")
    assert re.fullmatch(r"2 verdicts: (\d|unreadable), (\d|unreadable)", summary.inner_text())
    summary.click()
    expect(replies.nth(0).locator("details .text")).to_have_count(2)
    expect(replies.nth(0).locator("details .text").first).to_contain_text("It mentions")
    page.click("#rows .row >> nth=0")
    expect(page.locator(".opened")).to_have_count(0)


def test_the_thought_of_a_reply_is_folded_under_it_and_shown_as_text(opened: Callable[..., Any], tmp_path: Path):
    """The fixture `opened` fails at what a thought would run. A reply without one has no such fold."""
    with (tmp_path / "log").open("w") as log:
        run = write_run(tmp_path / "run", prompts=3, until=2, thought=f"First of all {ATTACK} {'W' * 300}")
        report(run.uri, Console(file=log))
    page = opened(tmp_path / "run" / "report.html", viewport={"width": 390, "height": 800})
    page.click("#rows .row >> nth=0")
    reply = page.locator(".opened .reply >> nth=0")
    thought = reply.locator("> details.thought")
    expect(thought.locator("summary")).to_have_text(re.compile(r"^Thought: 7 words, 7 tokens$"))
    expect(thought.locator(".text")).to_be_hidden()
    thought.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(thought.locator(".text")).to_contain_text(f"First of all {ATTACK}")
    reply.locator("> details:not(.thought) > summary").click()
    verdict = reply.locator("details:not(.thought) details.thought >> nth=0")
    expect(verdict.locator("summary")).to_have_text("Thought: 7 words")
    verdict.locator("summary").click()
    expect(verdict.locator(".text")).to_contain_text(ATTACK)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.fill("#query", "First of all")
    expect(page.locator("#count")).to_have_text("0 of 3 prompts")


def test_a_prompt_of_replies_without_thoughts_has_no_fold_for_them(page: Any):
    page.click("#rows .row >> nth=0")
    expect(page.locator(".opened .reply")).to_have_count(3)
    assert page.locator("details.thought").count() == 0


def test_search_finds_text_in_prompts_replies_and_ids(page: Any):
    page.fill("#query", "About SALT:")
    expect(page.locator("#count")).not_to_have_text(re.compile("^120 of"))
    found = counted(page)
    assert 0 < found < 40
    page.click("#rows .row >> nth=0")
    expect(page.locator(".opened mark").first).to_have_text("About salt:")
    page.fill("#query", "m3/p000007")
    expect(page.locator("#count")).to_have_text("1 of 120 prompts")
    page.fill("#query", "nobody wrote this (.*")
    expect(page.locator("#count")).to_have_text("0 of 120 prompts")
    page.fill("#query", "")
    expect(page.locator("#count")).to_have_text("120 of 120 prompts, 1 to 20 shown")


def test_filters_by_model_outcome_margin_and_length_go_together(page: Any):
    page.select_option("#model", label="M3")
    expect(page.locator("#count")).to_have_text(re.compile("^60 of 120"))
    page.select_option("#outcome", label="the prompt is too long")
    expect(page.locator("#count")).to_have_text("1 of 120 prompts")
    page.select_option("#outcome", label="pair")
    pairs = page.locator("#count")
    expect(pairs).not_to_have_text("1 of 120 prompts")
    all_pairs = counted(page)
    page.fill("#margin-low", "2")
    expect(pairs).not_to_have_text(re.compile(f"^{all_pairs} of"))
    margins = [float(text.removeprefix("margin ")) for text in page.locator("#rows .result").all_inner_texts()]
    assert margins
    assert min(margins) >= 2
    wide = counted(page)
    page.fill("#words-low", "13")
    expect(pairs).not_to_have_text(re.compile(f"^{wide} of"))
    lengths = [int(re.search(r"(\d+) against", line)[1]) for line in facts(page)]  # type: ignore[index]
    assert all(length >= 13 for length in lengths)


def test_the_order_can_be_changed(page: Any):
    page.select_option("#order", "large")
    expect(page.locator("#rows .result").first).to_have_text("margin 3.50")
    margins = [float(text.removeprefix("margin ")) for text in page.locator("#rows .result").all_inner_texts()]
    assert margins == sorted(margins, reverse=True)
    page.select_option("#order", "small")
    expect(page.locator("#rows .result").first).to_have_text("margin 0.50")


def test_what_a_model_wrote_is_shown_and_not_run(page: Any):
    """The fixture `opened` fails at a dialog, at a request and at a complaint of the content policy."""
    page.fill("#query", "<script>alert(1)")
    expect(page.locator("#count")).not_to_have_text(re.compile("^120 of"))
    page.click("#rows .row >> nth=0")
    expect(page.locator(".opened .text").first).to_contain_text(ATTACK)
    assert page.locator("main script, main img, main iframe").count() == 0
    assert page.evaluate("document.scripts.length") == len([*page.locator("script").all()])


def test_an_injected_script_is_refused_by_the_policy(browser: Any, report_page: Path, tmp_path: Path):
    """What the page would do if text were ever written into it unescaped."""
    broken = tmp_path / "broken.html"
    attack = "<script>document.title = 'taken'</script><p style='color: red' onclick='x()'>x</p>"
    broken.write_text(report_page.read_text().replace("<h2 ", attack + "<h2 ", 1))
    page = browser.new_page()
    page.goto(broken.as_uri())
    expect(page.locator("#rows li")).to_have_count(20)
    assert page.title() == "toy"
    assert page.evaluate("getComputedStyle(document.querySelector('p[onclick]')).color") != "rgb(255, 0, 0)"
    page.close()


def test_the_keyboard_reaches_and_operates_the_list(page: Any):
    page.focus("#order")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.row") == "0"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.row") == "1"
    page.keyboard.press("Enter")
    expect(page.locator("#rows li >> nth=1").locator(".opened .reply")).to_have_count(3)
    page.keyboard.press("Enter")
    expect(page.locator(".opened")).to_have_count(0)
    page.focus("#query")
    page.keyboard.type("M2/p00000")
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("10 of 120 prompts")
    page.focus("#next")


def test_a_screen_reader_finds_names_and_announcements(page: Any):
    unnamed = """() => [...document.querySelectorAll("input, select, button")]
        .filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).map((e) => e.id)"""
    assert page.evaluate(unnamed) == []
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("svg.plot:not([role=img][aria-label])").count() == 0
    assert page.get_attribute("#count", "aria-live") == "polite"
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((e) => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_width_scrolls_the_page_sideways(opened: Callable[..., Any], report_page: Path, width: int, scheme: str):
    page = opened(report_page, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.fill("#query", "About salt")
    expect(page.locator("#count")).not_to_have_text(re.compile("^120 of"))
    page.click("#rows .row >> nth=0")
    expect(page.locator(".opened .reply")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(21, 23, 27)") == (scheme == "dark")


def test_the_page_is_useful_without_javascript(opened: Callable[..., Any], report_page: Path):
    page = opened(report_page, java_script_enabled=False)
    expect(page.locator("#browser")).to_be_hidden()
    expect(page.locator("noscript p")).to_be_visible()
    expect(page.locator("article.pair")).to_have_count(8)
    expect(page.get_by_text("percentage points higher").first).to_be_visible()


def test_a_reply_of_a_million_characters_is_whole(opened: Callable[..., Any], tmp_path: Path):
    def text(said: str) -> str:
        return "x" * 1_000_000 + " the end" if said.startswith("About") else said

    with (tmp_path / "log").open("w") as log:
        report(write_run(tmp_path / "run", prompts=3, until=2, text=text).uri, Console(file=log))
    page = opened(tmp_path / "run" / "report.html")
    page.fill("#query", "the end")
    expect(page.locator("#count")).to_have_text("2 of 3 prompts")
    page.click("#rows .row >> nth=0")
    expect(page.locator(".opened .reply .text mark").first).to_have_text("the end")
