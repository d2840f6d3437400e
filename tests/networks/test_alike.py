"""The training photos most alike to a photo."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tenfold
from photos import QUICK, write_photos, write_table
from tenfold.errors import RunError
from tenfold.runs.options import Reading
from tenfold.schema import CategoryTarget, ImageColumn, Schema


def test_a_training_photo_is_most_alike_to_itself(tmp_path: Path) -> None:
    table = write_table(tmp_path / "train.csv", write_photos(tmp_path, 24))
    schema = Schema(
        inputs=[ImageColumn(name="id", folder=str(tmp_path / "photos"))],
        targets=[CategoryTarget(name="label")],
    )
    run: Any = tenfold.fit(
        schema, QUICK.model_copy(update={"epochs": 1}), table, run=tmp_path / "run", quiet=True
    )
    gallery = run.gallery()
    assert len(gallery.ids) == 24 and np.allclose(np.linalg.norm(gallery.features, axis=1), 1, atol=1e-6)
    for name in ("0003.png", "0010.png"):
        found = gallery.alike(tmp_path / "photos" / name, 4, Reading())
        assert found[0].id == name and found[0].cosine == pytest.approx(1, abs=1e-5)
        assert found[0].labels == {"label": ("cat", "dog", "bird")[int(name[:4]) % 3]}
        assert [one.cosine for one in found] == sorted((one.cosine for one in found), reverse=True)
        assert Image.open(io.BytesIO(found[1].picture)).format == "JPEG"
    for photo in (tmp_path / "photos").iterdir():
        photo.unlink()
    with pytest.raises(RunError, match="photos"):
        tenfold.load_run(tmp_path / "run").gallery()  # type: ignore[attr-defined]


def test_a_run_without_photos_has_no_gallery(tmp_path: Path) -> None:
    columns = {"x": np.linspace(-1, 1, 40), "y": np.linspace(0, 1, 40)}
    run: Any = tenfold.fit(columns, number="x", target="y:number", epochs=1, run=tmp_path / "run", quiet=True)
    with pytest.raises(RunError, match="does not read single photos"):
        run.gallery()
