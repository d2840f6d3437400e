"""Extra photos are learned from by answers of a network that did not see the held-out rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tenfold
from photos import QUICK, write_photo, write_photos
from tenfold.data.encode import Encoding, Examples
from tenfold.engine.batches import Batch, Preparation, training_batches
from tenfold.errors import ImageError, RecipeError, TenfoldError
from tenfold.events import EpochEnded, Event
from tenfold.networks.extra import ExtraAnswers
from tenfold.nn.heads import build_head
from tenfold.recipe import Recipe
from tenfold.runs.registry import load_run
from tenfold.schema import (
    CategoryTarget,
    CountTarget,
    ImageColumn,
    MultiLabelTarget,
    NumberTarget,
    OpenTarget,
    OrderedTarget,
    Schema,
)
from tenfold.targets.base import TargetStats

#: Temperatures are fitted to held-out rows, which must not reach what extra photos learn.
CHOICES: dict[str, Any] = {"epochs": 2, "ema": 0.0, "views": 2, "calibrate_probabilities": True}


def fit(folder: Path, columns: dict[str, Any], name: str, **more: Any) -> Any:
    schema = Schema(
        inputs=[ImageColumn(name="id", folder=str(folder / "photos"))],
        targets=[CategoryTarget(name="label")],
        split="held",
    )
    options = {"run": folder / "runs" / name, "quiet": True, "report": False, **CHOICES, **more}
    return tenfold.fit(schema, QUICK, columns, **options)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A table of 24 photos, and a folder of 12 others, 2 of which are in the table and 1 twice in it."""
    folder = tmp_path_factory.mktemp("extra")
    columns: dict[str, Any] = {**write_photos(folder, 24), "held": [int(row % 4 == 3) for row in range(24)]}
    for number in range(12):
        write_photo(folder / "more/deep" / f"{number}.png", ("cat", "dog", "bird")[number % 3], 100 + number)
    shutil.copy(folder / "photos/0000.png", folder / "more/known.png")
    # The same pixels in a file of another format, of a row that is held out.
    Image.open(folder / "photos/0003.png").save(folder / "more/held.bmp")
    shutil.copy(folder / "more/deep/5.png", folder / "more/twice.png")
    (folder / "more/notes.txt").write_text("not a photo", "utf-8")
    return folder, columns


@pytest.fixture(scope="module")
def made(place: Any) -> Any:
    return fit(*place, "one", extra=str(place[0] / "more"))


def test_it_stands_beside_the_same_training_without_them(place: Any, made: Any) -> None:
    folder, columns = place
    plain = fit(*place, "plain")
    alone = load_run(folder / "runs/one-labels")
    # The network that answers is the plain training, to the byte: it knows no label of a held-out row.
    weights = [(run.path / "weights.safetensors").read_bytes() for run in (plain, alone, made)]
    assert weights[0] == weights[1] != weights[2]
    assert alone.record.identity == plain.record.identity != made.record.identity
    assert made.record.without_extra == alone.scores and made.scores.keys() == alone.scores.keys()
    assert made.record.fingerprint == alone.record.fingerprint and made.record.rows == 24
    assert made.record.extra_rows == 12 and made.record.train_rows == 18
    text = "\n".join(made.record.notes)
    assert "2 of 15 extra photos are in the table, too (1 in held-out rows), and are left out" in text
    assert "held.bmp" in text and "known.png" in text
    assert "1 extra photos repeat another one, and are left out: twice.png" in text
    assert "without the extra photos, on the same rows" in text
    epoch = json.loads((made.path / "history.jsonl").read_text().splitlines()[-1])
    assert epoch["rows"] == 18 + 12
    made.write_page()
    assert "without the extra photos" in (made.path / "report.html").read_text("utf-8")


def test_labels_of_held_out_rows_change_nothing_that_is_learned(place: Any, made: Any) -> None:
    folder, columns = place
    words = ["cat", "dog", "bird"]
    others = [
        words[(words.index(label) + 1) % 3] if held else label
        for label, held in zip(columns["label"], columns["held"], strict=True)
    ]
    other = fit(folder, {**columns, "label": others}, "two", extra=str(folder / "more"))
    files = [run.path / "weights.safetensors" for run in (made, other)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert other.scores != made.scores


def test_a_stopped_training_goes_on_to_the_same_weights(place: Any, made: Any) -> None:
    seen: list[int] = []

    def stop_in_the_second(event: Event) -> None:
        if isinstance(event, EpochEnded):
            seen.append(event.rows)
            if event.rows == 30:
                raise KeyboardInterrupt

    folder = place[0]
    extra = str(folder / "more")
    with pytest.raises(KeyboardInterrupt):
        fit(*place, "three", extra=extra, on_progress=stop_in_the_second)
    seen.clear()
    run = fit(*place, "three", extra=extra, resume=True, on_progress=lambda event: seen_epochs(event, seen))
    # The training on the labels alone had finished and is taken as it is.
    assert set(seen) == {30}
    files = [one.path / "weights.safetensors" for one in (made, run)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert run.record.identity == made.record.identity
    again = fit(*place, "three", extra=extra, resume=True)
    assert any("has finished already" in note for note in again.record.notes) is False
    assert again.record.values["finished"] == run.record.values["finished"]


def seen_epochs(event: Event, seen: list[int]) -> None:
    if isinstance(event, EpochEnded):
        seen.append(event.rows)


def test_a_teacher_answers_for_them_on_the_same_views(place: Any, made: Any) -> None:
    folder = place[0]
    parent = str(made.path)
    taught = fit(*place, "four", extra=str(folder / "more"), teacher=parent, mixup=0.2)
    alone = fit(*place, "five", teacher=parent, mixup=0.2)
    assert taught.record.extra_rows == 12 and not taught.record.without_extra
    assert not (folder / "runs/four-labels").exists()
    weights = [(run.path / "weights.safetensors").read_bytes() for run in (taught, alone)]
    assert weights[0] != weights[1]


def test_what_cannot_be_learned_from_is_refused_by_name(place: Any, tmp_path: Path) -> None:
    folder, columns = place

    def refused(extra: Path, kind: type[TenfoldError], words: str, **more: Any) -> None:
        with pytest.raises(kind, match=words):
            fit(folder, columns, "bad", extra=str(extra), **more)
        assert not (folder / "runs/bad").exists() and not (folder / "runs/bad-labels").exists()

    refused(tmp_path / "lost", ImageError, "lost")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, ImageError, "there is no picture in")
    (empty / "notes.txt").write_text("x")
    refused(empty, ImageError, "there is no picture in")
    refused(folder / "photos", ImageError, "no photo of .* is left to learn from")
    broken = tmp_path / "broken"
    shutil.copytree(folder / "more/deep", broken)
    (broken / "bad.png").write_bytes((broken / "0.png").read_bytes()[:200])
    refused(broken, ImageError, "bad.png|unusable|cannot be used")
    refused(folder / "more", RecipeError, "limit of time", time_limit=60)
    run = fit(folder, columns, "six", extra=str(broken), skip_bad=True)
    assert run.record.extra_rows == 12
    with pytest.raises(RecipeError, match="whose only input is one picture"):
        table = {"x": [1.0, 2.0] * 9, "y": ["a", "b"] * 9}
        tenfold.fit(table, number="x", target="y", extra=str(broken), run=tmp_path / "run", quiet=True)
    with pytest.raises(RecipeError, match="rates are looked for"):
        tenfold.lr(
            {name: columns[name] for name in ("id", "label")},
            *(None,),
            image={"id": str(folder / "photos")},
            target="label",
            extra=str(broken),
            quiet=True,
        )


KINDS = [
    (CategoryTarget(name="y"), ("a", "b", "c")),
    (OrderedTarget(name="y"), ("a", "b", "c")),
    (OpenTarget(name="y"), ("a", "b", "c")),
    (MultiLabelTarget(name="y"), ("a", "b", "c")),
    (NumberTarget(name="y"), ()),
    (CountTarget(name="y"), ()),
]


@pytest.mark.parametrize(("target", "classes"), KINDS, ids=lambda value: getattr(value, "kind", ""))
@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_labels_and_answers_add_up_in_a_batch(target: Any, classes: tuple[str, ...], mixup: float) -> None:
    rng = np.random.default_rng(0)
    head = build_head(target, classes, TargetStats())
    chances = rng.random((2, head.answers))
    chances /= chances.sum(axis=1, keepdims=True)
    known = 4
    wide = target.kind in ("open", "multilabel")
    shape = (known, 3) if target.kind == "multilabel" else (known,)
    labels = rng.integers(0, 2, shape).astype(np.float64 if not classes else np.int64)
    weights = np.ones((known, 3) if wide else known)

    class Grey:
        def read(self, rows: np.ndarray) -> np.ndarray:
            return np.full((len(rows), 8, 8, 3), 128, np.uint8)

    def examples(count: int) -> Examples:
        def longer(array: np.ndarray) -> np.ndarray:
            return np.concatenate([array, np.zeros((count - known, *array.shape[1:]), array.dtype)])

        ids = np.array([str(row) for row in range(count)], dtype=object)
        return Examples(ids, (Grey(),), {"y": longer(labels)}, {"y": longer(weights)})

    answers = ExtraAnswers([head], {"y": chances}, {"y": 0.5}, known)
    recipe = Recipe(image_size=8, batch_size=6, mixup=mixup, augment="off", flip="none")
    encoding = Encoding(classes={"y": classes} if classes else {}, image_size=(8, 8))
    how = Preparation(encoding, torch.device("cpu"), torch.float32, channels_last=False)

    def batch(count: int, given: ExtraAnswers | None) -> Batch:
        order = [np.arange(count)]
        steps = {"epoch": 0, "first_step": 0, "workers": 0, "group": None}
        (made,) = training_batches(examples(count), order, recipe, how, answers=given, **steps)
        return made

    whole = batch(6, answers)
    raw = torch.from_numpy(rng.normal(size=(6, head.outputs))).requires_grad_()
    loss = sum(head.loss_sum(raw, part.labels, part.weights) for part in whole.targets["y"])
    # A photo counts 0.5, and a row with a label 1; mixed, something between.
    questions = 3 if wide else 1
    counted = sum(part.weights.reshape(6, -1).sum(dim=1) for part in whole.targets["y"]) / questions
    assert float(counted.min()) >= 0.5 - 1e-9 and float(counted.max()) <= 1 + 1e-9
    assert whole.denominators["y"] == pytest.approx(questions * float(counted.sum()))
    (gradient,) = torch.autograd.grad(loss, raw)
    if mixup:
        return
    torch.testing.assert_close(counted, torch.tensor([1.0] * known + [0.5] * 2, dtype=torch.float64))
    # Rows with labels learn as they do without the photos.
    alone = batch(known, None)
    own = raw.detach()[:known].requires_grad_()
    before = sum(head.loss_sum(own, part.labels, part.weights) for part in alone.targets["y"])
    torch.testing.assert_close(gradient[:known], torch.autograd.grad(before, own)[0])
    # Where a photo is answered as its answer says, there is nothing to learn.
    if target.kind == "category":
        exact = raw.detach().clone()
        exact[known:] = torch.from_numpy(np.log(chances))
        exact.requires_grad_()
        total = sum(head.loss_sum(exact, part.labels, part.weights) for part in whole.targets["y"])
        assert torch.autograd.grad(total, exact)[0][known:].abs().max() < 1e-12
    assert gradient[known:].abs().max() > 0
