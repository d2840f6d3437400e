"""Competitions, against a server of our own: files, refusals, and what is missing."""

from __future__ import annotations

import io
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import DependencyError, OutputError
from tenfold.runs.history import record_submission
from tenfold.studies.kaggle import fetch_competition, submit_file

#: A client with the names of the real one, which talks to the server at $STAND_IN.
CLIENT = """
import os
import urllib.error
import urllib.request


class KaggleApi:
    def authenticate(self):
        if not os.environ.get("KAGGLE_KEY"):
            print("Could not find kaggle.json")
            raise SystemExit(1)

    def _ask(self, path, data=None):
        address = os.environ["STAND_IN"] + path
        wanted = urllib.request.Request(address, data=data, headers={"key": os.environ["KAGGLE_KEY"]})
        try:
            with urllib.request.urlopen(wanted, timeout=10) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            failed = OSError(f"{error.code} Client Error")
            failed.response = type("Answer", (), {"status_code": error.code})()
            error.close()
            raise failed from None

    def competition_download_files(self, competition, path=None, quiet=True):
        found = self._ask(f"/data/{competition}")
        with open(os.path.join(path, competition + ".zip"), "wb") as stream:
            stream.write(found)

    def competition_submit(self, file_name, message, competition, quiet=False):
        with open(file_name, "rb") as stream:
            text = self._ask(f"/submit/{competition}?{message.replace(' ', '+')}", stream.read())
        return type("Response", (), {"message": text.decode()})()
"""


def packed(**members: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/"), text)
    return stream.getvalue()


class Server(ThreadingHTTPServer):
    handed_in: list[tuple[str, bytes]]


class Answers(BaseHTTPRequestHandler):
    def _say(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        codes = {"gone": 404, "rules": 403, "busy": 503}
        if self.headers["key"] != "right":
            return self._say(401)
        if name in codes:
            return self._say(codes[name])
        archives = {
            "evil": packed(**{"ok.csv": "1", "..__evil.txt": "x"}),
            "damaged": packed(**{"a.csv": "1" * 1000})[:-30],
        }
        good = packed(**{"train.csv": "id,label\n", "images__1.png": "x"})
        return self._say(200, archives.get(name, good))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.handed_in.append((self.path, body))  # type: ignore[attr-defined]
        self._say(200, b"Successfully submitted to Rice")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    room = tmp_path / "packages" / "kaggle" / "api"
    room.mkdir(parents=True)
    (room.parent / "__init__.py").write_text("")
    (room / "__init__.py").write_text("")
    (room / "kaggle_api_extended.py").write_text(CLIENT)
    for name in [name for name in sys.modules if name.partition(".")[0] == "kaggle"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("KAGGLE_KEY", "right")
    monkeypatch.setenv("no_proxy", "*")
    with Server(("127.0.0.1", 0), Answers) as made:
        made.handed_in = []
        monkeypatch.setenv("STAND_IN", f"http://127.0.0.1:{made.server_port}")
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()
    for name in [name for name in sys.modules if name.partition(".")[0] == "kaggle"]:
        del sys.modules[name]


def test_files_are_fetched_and_unpacked(server: Server, tmp_path: Path) -> None:
    found = fetch_competition("paddy-disease-classification", tmp_path / "paddy")
    assert found["files"] == ["images/1.png", "train.csv"]
    assert (tmp_path / "paddy" / "images" / "1.png").read_text() == "x"
    assert sorted(os.listdir(tmp_path / "paddy")) == ["images", "train.csv"]


def test_an_archive_that_leads_outside_is_refused_whole(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        fetch_competition("evil", tmp_path / "x")
    assert "../evil.txt" in str(caught.value)
    assert not (tmp_path / "evil.txt").exists() and not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "no competition 'gone'"),
        ("rules", "accept its rules"),
        ("busy", "answered 503"),
        ("Not A Name", "not the name of a competition"),
        ("../x", "not the name of a competition"),
    ],
)
def test_refusals_are_told_in_words(server: Server, tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(DependencyError) as caught:
        fetch_competition(name, tmp_path / "x")
    assert said in str(caught.value)


def test_a_file_is_handed_in_with_the_name_of_its_run(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "sub.csv"
    file.write_text("id,label\n")
    assert submit_file(file, "rice", runs=str(tmp_path / "none"))["message"] == "sub.csv"
    run = tmp_path / "runs" / "top"
    run.mkdir(parents=True)
    (run / "run.json").write_text('{"format": 1, "kind": "test", "targets": {}, "files": {}}')
    record_submission(run, file)
    found = submit_file(file, "rice", runs=str(tmp_path / "runs"))
    assert found["run"] == "top" and found["answer"] == "Successfully submitted to Rice"
    assert server.handed_in[-1] == ("/submit/rice?tenfold+top", b"id,label\n")
    with pytest.raises(OutputError, match="is a run folder"):
        submit_file(run, "rice")
    with pytest.raises(OutputError, match="does not exist"):
        submit_file(tmp_path / "none.csv", "rice")


def test_credentials_that_are_missing_or_wrong(server: Server, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    with pytest.raises(DependencyError, match="does not know these credentials"):
        fetch_competition("rice", tmp_path / "x")
    monkeypatch.delenv("KAGGLE_KEY")
    with pytest.raises(DependencyError) as caught:
        fetch_competition("rice", tmp_path / "x")
    assert "credentials are missing" in str(caught.value) and "KAGGLE_USERNAME" in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_network_that_is_not_there(server: Server, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("STAND_IN", "http://127.0.0.1:9")
    with pytest.raises(DependencyError, match="cannot be reached"):
        fetch_competition("rice", tmp_path / "x")


def test_a_package_that_is_not_there(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "kaggle", None)
    with pytest.raises(DependencyError) as caught:
        fetch_competition("rice", tmp_path / "x")
    assert "pip install 'tenfold[kaggle]'" in str(caught.value)
