"""Files that a request names, brought to another machine; and a run's files, brought back."""

from __future__ import annotations

import fcntl
import html
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tenfold.errors import RunError
from tenfold.runs.folder import described_text, file_digest
from tenfold.schema import Schema

__all__ = ["Parcel", "chunks_of", "listed", "moved", "packed_run", "place_run", "unpack"]

#: Bytes of a chunk, about.
CHUNK = 32 << 20
Move = Callable[[str], str]


@dataclass(frozen=True)
class Parcel:
    """A file or folder that a request names.

    number: of all.  path: as the request has it.  files: (name within the folder, or "" of a file; bytes).
    """

    number: int
    path: str
    files: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """Its own name, which it keeps."""
        return os.path.basename(os.path.normpath(self.path))

    def at(self, root: Path) -> Path:
        """Where it is below a machine's folder."""
        return root / str(self.number) / self.name


def listed(number: int, path: str) -> Parcel:
    """What there is to send of a path. Raises RunError where it cannot be read."""
    if os.path.isfile(path):
        return Parcel(number, path, (("", os.path.getsize(path)),))
    if not os.path.isdir(path) or os.path.samefile(path, os.curdir):
        raise RunError(
            f"{path or 'the current folder'} cannot be sent to another machine",
            fix="name a file, or a folder of pictures that is not the current one",
        )
    names = sorted(
        os.path.relpath(os.path.join(folder, name), path)
        for folder, _, files in os.walk(path)
        for name in files
    )
    sizes = ((name, os.path.getsize(os.path.join(path, name))) for name in names)
    return Parcel(number, path, tuple(sizes))


def chunks_of(parcel: Parcel) -> Iterator[bytes]:
    """The bytes of its files, one after the other, in pieces. RunError where a file has changed meanwhile."""
    held, size = list[bytes](), 0
    for name, expected in parcel.files:
        left = expected
        with open(os.path.join(parcel.path, name) if name else parcel.path, "rb") as stream:
            while part := stream.read(min(CHUNK, left + 1)):
                left -= len(part)
                held.append(part)
                size += len(part)
                if size >= CHUNK:
                    yield b"".join(held)
                    held, size = [], 0
                if left < 0:
                    break
        if left:
            raise RunError(
                f"{name or parcel.path} has changed while it was sent", fix="run the command again"
            )
    if size or not parcel.files:
        yield b"".join(held)


def unpack(parcel: Parcel, chunks: Iterable[bytes], root: Path) -> None:
    """Write the files of a parcel below a folder, once: a second process waits for the first."""
    target = parcel.at(root)
    with _locked(root / f"{parcel.number}.lock"):
        done = root / f"{parcel.number}.done"
        if done.exists():
            return
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir(parents=True)
        left, rest = iter(chunks), b""
        if any(name for name, _ in parcel.files) or not parcel.files:
            target.mkdir()
        for name, size in parcel.files:
            path = target / name if name else target
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as stream:
                while size:
                    rest = rest or next(left)
                    part, rest = rest[:size], rest[size:]
                    stream.write(part)
                    size -= len(part)
        done.touch()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def moved(request: Mapping[str, object], move: Move) -> dict[str, object]:
    """A request to train, in JSON's types, whose paths have moved; its table, pictures, weights and runs."""
    asked = cast(dict[str, Any], json.loads(json.dumps(request)))
    asked["table"] = move(asked["table"])
    for name in ("user_table", "item_table"):
        if asked["schema"].get(name):
            asked["schema"][name] = move(asked["schema"][name])
    folders = asked["reading"].get("folders") or {}
    for column in asked["schema"]["inputs"]:
        if column.get("kind") == "image" and column["name"] not in folders:
            column["folder"] = move(column.get("folder", ""))
    asked["reading"]["folders"] = {name: move(path) for name, path in folders.items()}
    asked["reading"]["cache"] = None
    for choices in (asked["recipe"], asked.get("changes", {})):
        for name in ("weights", "start", "teacher"):
            path = choices.get(name)
            if path and (name != "weights" or os.path.isfile(path)):
                choices[name] = move(path)
    return asked


def packed_run(folder: Path) -> dict[str, bytes]:
    """The files of a finished run by name; none where there is no run."""
    if not (folder / "run.json").is_file():
        return {}
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def place_run(files: Mapping[str, bytes], path: Path, renamed: Mapping[str, str]) -> None:
    """Make a run folder of these files; an older one stays until this is whole.

    renamed: beginning of a path on the other machine -> the same here, in all texts of the run. Its sums are
    made anew, as ``run.json`` knows them.
    """
    made = path.with_name(f".{path.name}.arrived")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    changed: dict[str, str] = {}
    for name, data in files.items():
        if os.path.basename(name) != name:
            raise RunError(f"{name!r} is not a file of a run", fix="train it again")
        if name.endswith((".toml", ".html", ".jsonl")):
            own = _renamed(data, renamed, html.escape if name.endswith(".html") else _quoted)
            if own != data:
                # Lines are laid out by their lengths.
                data = Schema.from_toml(own.decode()).to_toml().encode() if name == "schema.toml" else own
                changed[name] = ""
        if name != "run.json":
            (made / name).write_bytes(data)
    about = json.loads(_renamed(files["run.json"], renamed, _quoted))
    sums = {name: file_digest(made / name) for name in changed if name in about["files"]}
    about["files"] = {**about["files"], **sums}
    (made / "run.json").write_text(described_text(about), encoding="utf-8")
    shutil.rmtree(path, ignore_errors=True)
    os.replace(made, path)


def _renamed(data: bytes, renamed: Mapping[str, str], spelled: Callable[[str], str]) -> bytes:
    for before, after in renamed.items():
        data = data.replace(before.encode(), spelled(after).encode("utf-8", "surrogateescape"))
    return data


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
