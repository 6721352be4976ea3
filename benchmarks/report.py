"""Time until a large report can be used. Run with `make bench-report`.

A run of one iteration is made up: judged prompts (4 candidates, 3 verdicts each, the texts of `pairs.py`) and their
pairs. Its report is written, and opened in the headless Chromium of this machine. The last line is one JSON object:
`write_seconds` to read the tables and write the page, `write_peak_mb` of the process that does, `page_mb`, `embedded`
prompts of all `rows`, `open_seconds` from the start of loading until the list is shown, and `search_seconds` until a
search for a text that nobody wrote has looked at every embedded prompt. The exit status is 1 if opening took longer
than `MOST_SECONDS`.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pairs import make_table
from peak_memory import peak_mb

ROWS = 50_000
MOST_SECONDS = 3.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="number of judged prompts")
    parser.add_argument("--stage", choices=["write"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage == "write":
        print(json.dumps(write_page(arguments.folder)))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-report-") as name:
        print(f"making up a run of {arguments.rows:,} judged prompts", flush=True)
        make_run(Path(name), arguments.rows)
        print("writing its report", flush=True)
        command = [sys.executable, __file__, "--stage", "write", "--folder", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this very file
        figures = json.loads(done.stdout.splitlines()[-1]) | open_page(Path(name) / "report.html")
    print(json.dumps({"rows": arguments.rows, **figures}))
    return int(figures["open_seconds"] > MOST_SECONDS)


def make_run(folder: Path, rows: int) -> None:
    """The seed, respond and pair steps of a run, and its recipe."""
    from selfreward_ray.preferences.best_worst import best_worst
    from selfreward_ray.preferences.candidate_set import build_candidate_set
    from selfreward_ray.recipe.schema import Recipe
    from selfreward_ray.recipe.seed_data import SeedData
    from selfreward_ray.records import Dropped, JudgedPrompt, Pair
    from selfreward_ray.store.run import RunLayout
    from selfreward_ray.store.run_recipe import claim_run
    from selfreward_ray.store.step import Step
    from selfreward_ray.store.tables import read_files, write_block

    recipe = Recipe(name="benchmark", model="none", iterations=1, seed_data=SeedData(eft=0, held_out=0))
    layout = RunLayout(str(folder))
    claim_run(layout.root, recipe)
    make_table(Path(layout.judged(2).uri), rows)
    step = Step("pair", layout.pairs(2).uri, {}, {})
    step.is_done()
    paired = 0
    for _, judged in read_files(layout.judged(2) / "rows", JudgedPrompt):
        sets = [build_candidate_set(row, recipe.judge, frozenset()) for row in judged]
        outcomes = [best_worst(one, recipe.pairs) for one in sets]
        made = [row for outcome in outcomes if not isinstance(outcome, Dropped) for row in outcome]
        dropped = [outcome for outcome in outcomes if isinstance(outcome, Dropped)]
        flagged = [flag for one in sets for flag in one.flagged]
        write_block(step.folder, [row.id for row in judged], made, Pair, dropped, flagged)
        paired += len(made)
    step.finish(offered=rows, kept=paired)


def write_page(folder: Path) -> dict[str, float]:
    """Write the report as `selfreward report` does; its cost."""
    from selfreward_ray.reporting.page import render_page
    from selfreward_ray.steps.report import read_report
    from selfreward_ray.store.run import RunLayout

    started = time.monotonic()
    summary, data = read_report(RunLayout(str(folder)))
    page = render_page(summary, data).encode()
    (folder / "report.html").write_bytes(page)
    return {
        "write_seconds": round(time.monotonic() - started, 1),
        "write_peak_mb": round(peak_mb()),
        "page_mb": round(len(page) / 1e6, 1),
        "embedded": sum(data.shown.values()),
    }


def open_page(page_file: Path) -> dict[str, float]:
    """Open the page and search in it."""
    from playwright.sync_api import expect, sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise SystemExit(f"no browser is installed; put one of {', '.join(BROWSERS)} on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto("about:blank")  # the browser's own start is not the page's
        started = time.monotonic()
        page.goto(page_file.as_uri(), wait_until="commit")
        page.wait_for_selector("#rows li", timeout=120_000)
        opened = time.monotonic() - started
        started = time.monotonic()
        page.fill("#query", "nobody wrote this")
        expect(page.locator("#count")).to_have_text(re.compile("^0 of"), timeout=300_000)
        searched = time.monotonic() - started
        browser.close()
    return {"open_seconds": round(opened, 2), "search_seconds": round(searched, 2)}


if __name__ == "__main__":
    sys.exit(main())
