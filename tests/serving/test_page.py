"""The page in a real browser: a photo, a row, a list that follows ratings; on a phone, in the dark."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

import tenfold
from photos import QUICK, write_photos
from shown import CHROMIUM
from tenfold.schema import CategoryTarget, ImageColumn, Schema
from tenfold.serving.app import make_app
from tenfold.serving.limits import Limits
from tenfold.serving.page import serving_page
from tenfold.serving.served import Served
from tenfold.serving.server import bind

#: Names that a page must show and not obey.
BAD = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Served]:
    folder = tmp_path_factory.mktemp("page")
    columns = write_photos(folder, 24)
    photos = tenfold.fit(
        Schema(
            inputs=[ImageColumn(name="id", folder=str(folder / "photos"))],
            targets=[CategoryTarget(name="label")],
        ),
        QUICK.model_copy(update={"epochs": 1}),
        {"id": columns["id"], "label": columns["label"]},
        run=folder / "photos-run",
        quiet=True,
    )
    row = {"x": np.linspace(-1, 1, 40), "kind": [BAD, "b"] * 20, "y": ["up", "down"] * 20}
    cells = tenfold.fit(
        row, number="x", category="kind", target="y", epochs=1, run=folder / "cells", quiet=True
    )
    drawn = np.random.default_rng(0)
    names = [f"Film {film}{BAD if film == 3 else ''}" for film in range(12)]
    pairs = [(f"u{user}", film) for user in range(15) for film in names if drawn.random() < 0.6]
    rated = {"user": [user for user, _ in pairs], "item": [film for _, film in pairs]}
    films = tenfold.fit(
        {**rated, "stars": drawn.integers(1, 6, len(pairs))},
        user="user",
        item="item",
        target="stars",
        factors=2,
        sweeps=4,
        run=folder / "films",
        quiet=True,
    )
    served = [
        Served(name, run, Limits()) for name, run in [("photos", photos), ("cells", cells), ("films", films)]
    ]
    served[0].collect()
    return served


@pytest.fixture(scope="module")
def address(runs: list[Served]) -> Iterator[str]:
    limits = Limits()
    listening = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(make_app(runs, limits), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


def test_the_page_is_whole() -> None:
    page = serving_page()
    assert "/*STYLE*/" not in page and "/*SCRIPT*/" not in page and "POLICY" not in page
    assert (
        "http://" not in page
        and "https://" not in page
        and "</script" not in page.partition("<script>")[2][:-40]
    )


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no Debian chromium")
def test_a_person_asks_on_a_phone_in_the_dark(address: str, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")
        view = context.new_page()
        view.set_default_timeout(60_000)
        view.on("console", lambda message: said.append(message.text))
        view.on("pageerror", lambda error: said.append(str(error)))
        view.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        try:
            view.goto(f"{address}/#photos")
            _ask_photo(view, tmp_path)
            view.get_by_role("button", name="cells").click()
            view.wait_for_selector(".answers .big")
            view.select_option("select[name=kind]", BAD)
            view.fill("input[name=x]", "0.5")
            expect(view.locator(".took")).to_contain_text("ms")
            assert not view.locator("#fault").is_visible()
            view.get_by_role("button", name="films").click()
            view.wait_for_selector(".list li")
            view.go_back()
            view.wait_for_selector("select[name=kind]")
            view.go_forward()
            _ask_films(view)
            assert view.evaluate("document.documentElement.scrollWidth") == 390
            dark = view.evaluate("getComputedStyle(document.body).backgroundColor")
            assert sum(int(part) for part in dark[4:-1].split(",")) < 150
        finally:
            browser.close()
    assert len(said) == 1 and "status of 422" in said[0]


def _ask_photo(view: Any, folder: Path) -> None:
    columns = write_photos(folder, 2)
    view.set_input_files(".drop input", str(folder / "photos" / columns["id"][1]))
    view.wait_for_selector(".answers .bar")
    shares = [
        float(text.partition(" ")[0].replace("<", "0"))
        for text in view.locator(".bar span").all_inner_texts()
    ]
    assert len(shares) == 3 and sum(shares) == pytest.approx(100, abs=0.2)
    assert shares == sorted(shares, reverse=True)
    view.wait_for_selector(".alike figure")
    assert view.locator(".alike figure").count() > 2 and "cosine" in view.locator(".alike").inner_text()
    (folder / "page.jpg").write_text("<html>")
    view.set_input_files(".drop input", str(folder / "page.jpg"))
    view.wait_for_selector("#fault:not([hidden])")
    assert "page.jpg is not a picture" in view.locator("#fault").inner_text()
    # The answer to the photo before does not stand beside this one.
    assert not view.locator(".answers .bar").count() and not view.locator(".alike figure").first.is_visible()
    view.set_input_files(".drop input", str(folder / "photos" / columns["id"][0]))
    view.wait_for_selector("#fault", state="hidden")


def _ask_films(view: Any) -> None:
    from playwright.sync_api import expect

    view.wait_for_selector(".list li")
    view.fill(".who", "u1")
    view.wait_for_selector(".found li[role=option]")
    view.keyboard.press("Enter")
    view.wait_for_selector(".seen li")
    assert (
        view.locator(".title").inner_text() == "For user u1"
        and "because of" in view.locator(".list").inner_text()
    )
    view.click(".clear")
    before = view.locator(".list .name").all_inner_texts()
    view.fill(".film", "film 3")
    expect(view.locator(".rate .found li")).to_have_count(1)
    view.keyboard.press("Enter")
    view.wait_for_selector(".mine li")
    assert BAD in view.locator(".mine li").inner_text()
    expect(view.locator(".title")).to_have_text("For you")
    expect(view.locator(".list .name", has_text="Film 3")).to_have_count(0)
    view.locator(".mine button").first.click()
    assert view.locator(".mine .on").count() == 1
    expect(view.locator(".list .name")).not_to_have_text(before)
    view.locator(".list .name").first.click()
    view.wait_for_selector(".near li")
