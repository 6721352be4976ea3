"""A page in the system's Chromium, driven by Playwright. `make test-browser` runs these tests."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = f"no browser is installed; put one of {', '.join(BROWSERS)} on the PATH (apt-get install chromium)"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The browser. Without Playwright or a browser the tests fail; they are not skipped."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(MISSING)
    with sync_playwright() as playwright:
        # Without a sandbox, which containers do not allow; the pages are made here.
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a file in a new page and returns it. At the end no page may have complained on its console."""
    faults: list[str] = []
    contexts = []

    def open_page(path: Path, **settings: Any) -> Any:
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: faults.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
