"""Competitions: fetch the data, hand in predictions. The only place that knows Kaggle's package."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from tenfold.data.tables.archive import unpack_files
from tenfold.errors import DependencyError, OutputError, RunError, TenfoldError
from tenfold.runs.history import find_maker

#: How Kaggle's addresses name a competition.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_KEY = (
    "create a token on your Kaggle account page, and set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and "
    "KAGGLE_KEY, or put kaggle.json into ~/.kaggle"
)


def fetch_competition(
    competition: str, folder: str | os.PathLike[str], *, most: int | None = None
) -> dict[str, Any]:
    """Fetch a competition's files into a folder, and unpack them; returns their names.

    most: bytes that they may take, see `data.archive.unpack_files`, which refuses archives of bad names.
    Raises DependencyError where the package, the credentials or the network are missing.
    """
    _check_name(competition)
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise OutputError(f"{folder} is a file", fix="give the name of a folder with -o")
    api = _signed_in()
    with _beside(place) as fetched:
        with _told(f"the files of {competition}", competition):
            api.competition_download_files(competition, path=str(fetched), quiet=True)
        found = unpack_files(sorted(fetched.iterdir()), place, most=most)
    if not found:
        fix = "accept its rules on its page first"
        raise DependencyError(f"Kaggle sent no files of {competition}", fix=fix)
    return {"competition": competition, "folder": str(place), "files": sorted(found)}


def submit_file(
    file: str | os.PathLike[str], competition: str, *, message: str | None = None, runs: str = "runs"
) -> dict[str, Any]:
    """Hand in a file of predictions; returns what Kaggle answers, and the run that made the file, if known.

    runs: the folder whose history says which run that was; it becomes the message where none is given.
    Raises DependencyError where the package, the credentials or the network are missing.
    """
    _check_name(competition)
    path = Path(file)
    if not path.is_file():
        what = "is a run folder" if (path / "run.json").exists() else "is a folder" if path.is_dir() else ""
        what = what or ("is not a file" if path.exists() else "does not exist")
        raise OutputError(
            f"{file} {what}", fix="write the file first: tenfold predict RUN TEST --like SAMPLE -o FILE"
        )
    try:
        made = [str(one["run"]) for one in find_maker(path, runs)] if Path(runs).is_dir() else []
    except RunError:
        made = []
    said = message or (f"tenfold {made[-1]}" if made else path.name)
    api = _signed_in()
    with _told(f"{file}", competition):
        answer = api.competition_submit(str(path), said, competition, quiet=True)
    text = str(getattr(answer, "message", "") or answer)
    if "could not submit" in text.casefold() or "upload failed" in text.casefold():
        raise DependencyError(
            f"Kaggle did not take {file}: {text}", fix="try again, or hand it in on its page"
        )
    return {
        "file": str(file),
        "competition": competition,
        "message": said,
        "run": made[-1] if made else None,
        "answer": text,
    }


@contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A folder for a while, on the disk of the one that is to be filled."""
    try:
        room = place if place.exists() else place.absolute().parent
        room.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(dir=room, prefix=".fetching-")
    except OSError as error:
        raise OutputError(
            f"{place} cannot be written: {error.strerror or error}", fix="give another place with -o"
        ) from None
    with made as name:
        yield Path(name)


def _check_name(competition: str) -> None:
    if not _NAME.fullmatch(competition):
        raise DependencyError(
            f"{competition!r} is no competition's name",
            fix="take it from its page's address, as paddy-disease-classification",
        )


def _signed_in() -> Any:
    """The package's client with the user's credentials."""
    try:
        # What it prints is not the answer; and some versions end the program where there is no key.
        with redirect_stdout(sys.stderr):
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = KaggleApi()
            api.authenticate()
    except ImportError:
        raise DependencyError(
            "the package kaggle is not installed", fix="install it: pip install 'tenfold[kaggle]'"
        ) from None
    except (SystemExit, OSError, ValueError) as error:
        text = str(error) if not isinstance(error, SystemExit) else ""
        raise DependencyError("Kaggle's credentials are missing", found=text, fix=_KEY) from None
    return api


@contextmanager
def _told(what: str, competition: str) -> Iterator[None]:
    """Say in the user's words why the network, or Kaggle, refused."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (OSError, ValueError) as error:
        raise _refusal(error, what, competition) from None
    except SystemExit:
        raise DependencyError("Kaggle's credentials are missing", fix=_KEY) from None


def _refusal(error: Exception, what: str, competition: str) -> TenfoldError:
    answer = getattr(error, "response", None)
    status = getattr(answer, "status_code", None)
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    page = f"https://www.kaggle.com/competitions/{competition}"
    if status == 401:
        return DependencyError("Kaggle does not know these credentials", found=first, fix=_KEY)
    if status == 403:
        fix = f"accept its rules on {page}, and check the key"
        return DependencyError(f"Kaggle refuses {what}", found=first, fix=fix)
    if status == 404:
        fix = "take its name from its page's address"
        return DependencyError(f"Kaggle has no competition {competition!r}", found=first, fix=fix)
    if status is not None:
        return DependencyError(f"Kaggle answered {status} to {what}", found=first, fix="try again later")
    if isinstance(error, OSError) and error.errno is not None and getattr(error, "filename", None):
        return OutputError(f"{error.filename}: {error.strerror}", fix="give a place that you may write to")
    return DependencyError("Kaggle cannot be reached", found=first, fix="check the network, and try again")
