"""Kaggle competitions: fetch the data, submit predictions. The only file that imports Kaggle's package."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Protocol, TypedDict

from tenfold.data.tables.archive import unpack_files
from tenfold.errors import DependencyError, OutputError, RunError, TenfoldError
from tenfold.runs.history import find_maker

#: The name of a competition in Kaggle's addresses.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_KEY = (
    "create a token on your Kaggle account page, and set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and "
    "KAGGLE_KEY, or put kaggle.json into ~/.kaggle"
)


class _Client(Protocol):
    """The part of Kaggle's client that is used here."""

    def authenticate(self) -> None: ...
    def competition_download_files(self, competition: str, *, path: str, quiet: bool) -> object: ...
    def competition_submit(self, file: str, message: str, competition: str, *, quiet: bool) -> object: ...


class FetchedFiles(TypedDict):
    """What a competition's files have become: the folder and their names, in order."""

    competition: str
    folder: str
    files: list[str]


def fetch_competition(
    competition: str, folder: str | os.PathLike[str], *, most: int | None = None
) -> FetchedFiles:
    """Fetch a competition's files into a folder, and unpack them; returns their names.

    most: bytes of all files at most, see `data.tables.archive.unpack_files`.
    Raises DependencyError if the package, the credentials or the network are missing.
    """
    _check_name(competition)
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{folder} is a file", fix="give the name of a folder with -o")
    client = _authenticated()
    with _temporary_beside(target) as fetched:
        with _explained(f"the files of {competition}", competition):
            client.competition_download_files(competition, path=str(fetched), quiet=True)
        files = unpack_files(sorted(fetched.iterdir()), target, most=most)
    if not files:
        fix = "accept its rules on its page first"
        raise DependencyError(f"Kaggle sent no files of {competition}", fix=fix)
    return {"competition": competition, "folder": str(target), "files": sorted(files)}


def submit_file(
    file: str | os.PathLike[str], competition: str, *, message: str | None = None, runs: str = "runs"
) -> dict[str, object]:
    """Submit a file of predictions; returns Kaggle's answer, and the run that made the file, if known.

    message: by default the name of that run.  runs: the folder with the history of runs.
    Raises DependencyError if the package, the credentials or the network are missing.
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
        made = [str(entry["run"]) for entry in find_maker(path, runs)] if Path(runs).is_dir() else []
    except RunError:
        made = []
    message = message or (f"tenfold {made[-1]}" if made else path.name)
    client = _authenticated()
    with _explained(f"{file}", competition):
        answer = client.competition_submit(str(path), message, competition, quiet=True)
    text = str(getattr(answer, "message", "") or answer)
    if "could not submit" in text.casefold() or "upload failed" in text.casefold():
        raise DependencyError(
            f"Kaggle did not take {file}: {text}", fix="try again, or submit it on its page"
        )
    return {
        "file": str(file),
        "competition": competition,
        "message": message,
        "run": made[-1] if made else None,
        "answer": text,
    }


@contextmanager
def _temporary_beside(target: Path) -> Iterator[Path]:
    """A temporary folder on the disk of the target folder."""
    try:
        parent = target if target.exists() else target.absolute().parent
        parent.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(dir=parent, prefix=".fetching-")
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror or error}", fix="give another folder with -o"
        ) from None
    with made as name:
        yield Path(name)


def _check_name(competition: str) -> None:
    if not _NAME.fullmatch(competition):
        raise DependencyError(
            f"{competition!r} is not the name of a competition",
            fix="take it from its page's address, as paddy-disease-classification",
        )


def _authenticated() -> _Client:
    """The package's client with the user's credentials."""
    try:
        # Its output must not mix with ours; and some versions end the program if there is no key.
        with redirect_stdout(sys.stderr):
            from kaggle.api.kaggle_api_extended import KaggleApi  # pyright: ignore[reportMissingImports]

            client: _Client = KaggleApi()
            client.authenticate()
    except ImportError:
        raise DependencyError(
            "the package kaggle is not installed", fix="install it: pip install 'tenfold[kaggle]'"
        ) from None
    except (SystemExit, OSError, ValueError) as error:
        text = str(error) if not isinstance(error, SystemExit) else ""
        raise DependencyError("Kaggle's credentials are missing", found=text, fix=_KEY) from None
    return client


@contextmanager
def _explained(what: str, competition: str) -> Iterator[None]:
    """Turn errors of the network or of Kaggle into a TenfoldError with a fix."""
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
        return OutputError(f"{error.filename}: {error.strerror}", fix="give a folder that you may write to")
    return DependencyError("Kaggle cannot be reached", found=first, fix="check the network, and try again")
