"""Make docs/pictures from runs on drawn data: ``python docs/make_pictures.py [NAME ...]``.

Needs a Chromium on the path, and LibreOffice for the spreadsheets. Nothing is drawn by hand: each is a
page that tenfold wrote, or the screen of a command. Takes some minutes; the pictures are kept here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

FOLDER = Path(__file__).with_name("pictures")
#: Pixels of a page.
WIDTH = 1200
#: Colours of a picture: pages have few, and the file is then a quarter as large.
COLOURS = 96


@cache
def work() -> Path:
    """The folder of the runs: a new one, or TENFOLD_PICTURES to keep them between calls."""
    folder = Path(os.environ.get("TENFOLD_PICTURES") or tempfile.mkdtemp(prefix="tenfold-pictures-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tenfold(*words: str) -> str:
    """What the command prints as its result, with its colours."""
    surroundings = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "100"}
    command = [sys.executable, "-m", "tenfold", *words]
    done = subprocess.run(command, cwd=work(), env=surroundings, capture_output=True, text=True, check=True)
    return done.stdout


@cache
def leaves() -> Path:
    """A run on drawn leaves with two targets."""
    import tenfold as library

    run = work() / "runs" / "leaves"
    if not run.is_dir():
        drawn = library.sample("leaves", rows=800, folder=work() / "leaves")
        library.fit(drawn, run=run, epochs=24, quiet=True)
    return run


@cache
def films() -> Path:
    """A run on drawn ratings."""
    import tenfold as library

    run = work() / "runs" / "films"
    if not run.is_dir():
        library.fit(library.sample("films"), run=run, quiet=True)
    return run


def shot(page: Path, *, height: int, part: str = "", width: int = WIDTH) -> bytes:
    """A page in a real browser as a PNG; part: a selector of CSS, whose element alone is shown."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        tab.wait_for_timeout(800)  # charts move into place
        picture = tab.locator(part).first.screenshot() if part else tab.screenshot()
        browser.close()
    return picture


def small(picture: bytes) -> bytes:
    """The same picture with few colours."""
    from PIL import Image

    stream = BytesIO()
    image = Image.open(BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def terminal(text: str, command: str) -> bytes:
    """The screen of a command, as it looks in a terminal of 100 columns."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=160, file=open(os.devnull, "w"))
    console.print(Text.from_markup(f"[bold]$ {command}[/]"))
    console.print(Text.from_ansi(text.strip("\n")))
    page = work() / "terminal.html"
    style = "body{margin:0;padding:16px;background:#fff;display:inline-block}"
    style += "pre{font:14px/1.35 monospace;margin:0}"
    page.write_text(
        console.export_html(inline_styles=True).replace("<head>", f"<head><style>{style}</style>")
    )
    return shot(page, height=300, part="body")


def sheet(book: Path, page: int) -> bytes:
    """A printed page of a workbook, from 1, as LibreOffice shows it."""
    import pypdfium2
    from PIL import ImageChops

    subprocess.run(
        ["soffice", "--headless", "--convert-to", "pdf", book.name],
        cwd=work(),
        check=True,
        capture_output=True,
    )
    image = (
        pypdfium2.PdfDocument(work() / f"{book.stem}.pdf")[page - 1].render(scale=1.6).to_pil().convert("RGB")
    )
    bare = ImageChops.invert(image).getbbox()
    stream = BytesIO()
    (image.crop(bare) if bare else image).save(stream, "PNG")
    return stream.getvalue()


def _report() -> bytes:
    tenfold("report", str(leaves()))
    return shot(leaves() / "report.html", height=740)


def _plan() -> bytes:
    tenfold(
        "plan",
        "convnext_large",
        "--image-size",
        "224",
        "--batch-size",
        "64",
        "--budget",
        "16GiB",
        "--plot",
        "plan.html",
    )
    return shot(work() / "plan.html", height=800)


def _inspect() -> bytes:
    tenfold("inspect", str(films()), "-o", "films.html")
    return shot(work() / "films.html", height=900, part='section:has(h2:text-is("Maps of the factors"))')


def _crosstab() -> bytes:
    import tenfold as library

    run = work() / "runs" / "lesson"
    if not run.is_dir():
        library.fit(library.sample("films"), run=run, method="sgd", factors=5, quiet=True)
    tenfold("explain", str(run), "-n", "8", "-o", "films.xlsx")
    return sheet(work() / "films.xlsx", 2)


def _recommend() -> bytes:
    command = "tenfold recommend runs/films --user u7 -n 5"
    films()
    return terminal(tenfold(*command.split()[1:]), command)


#: File of docs/pictures -> what makes it.
PICTURES: dict[str, Callable[[], bytes]] = {
    "report.png": _report,
    "plan.png": _plan,
    "inspect.png": _inspect,
    "crosstab.png": _crosstab,
    "recommend.png": _recommend,
}


def main() -> None:
    """Make the pictures that are named, or all."""
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or PICTURES:
        (FOLDER / name).write_bytes(small(PICTURES[name]()))
        print(FOLDER / name, (FOLDER / name).stat().st_size)


if __name__ == "__main__":
    main()
