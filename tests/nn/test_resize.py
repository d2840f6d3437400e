"""Resizing as tensor operations gives the bytes that Pillow gives."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from tenfold.data.images.decode import INTERPOLATIONS, _fit, resizes_down_first
from tenfold.nn.resize import SUPPORT, resized_as_pillow


@pytest.mark.parametrize("interpolation", SUPPORT)
@pytest.mark.parametrize("resize", ["squish", "crop", "pad"])
def test_the_bytes_are_pillows(resize: str, interpolation: str) -> None:
    rng = np.random.default_rng(7)
    # Smaller, larger, the same, a strip, a single pixel.
    for height, width in [
        (37, 53),
        (16, 20),
        (12, 9),
        (48, 31),
        (1, 90),
        (90, 1),
        (1, 1),
        (61, 17),
        (70, 40),
        (20, 60),
    ]:
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        size = (16, 20)
        # Beyond six times Pillow averages blocks first.
        if max(height / size[0], width / size[1]) >= 6:
            continue
        whole = (0.0, 0.0, float(width), float(height))
        own = _fit(Image.fromarray(pixels), whole, size, resize, INTERPOLATIONS[interpolation])
        made = resized_as_pillow(
            torch.from_numpy(pixels)[None], size, resize, interpolation, down_first=resizes_down_first()
        )
        np.testing.assert_array_equal(made[0].permute(1, 2, 0).numpy(), own)


def test_pictures_of_the_size_stay_as_they_are() -> None:
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 16, 20, 3)).astype(np.uint8))
    for resize in ("squish", "crop", "pad"):
        made = resized_as_pillow(pixels, (16, 20), resize, "bicubic", down_first=True)
        assert torch.equal(made.permute(0, 2, 3, 1).to(torch.uint8), pixels)


@pytest.mark.parametrize("resize", ["squish", "crop", "pad"])
@pytest.mark.parametrize("interpolation", SUPPORT)
def test_a_graph_gives_the_bytes_that_pillow_gives(resize: str, interpolation: str) -> None:
    size = (96, 128)

    class Resizing(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            made = resized_as_pillow(pixels, size, resize, interpolation, down_first=resizes_down_first())
            return made.permute(0, 2, 3, 1)

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Resizing(),
            (torch.zeros(1, 37, 53, 3, dtype=torch.uint8),),
            stream,  # type: ignore[arg-type]
            input_names=["pixels"],
            dynamic_axes={"pixels": {1: "height", 2: "width"}},
            opset_version=17,
            dynamo=False,
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(stream.getvalue(), options)
    rng = np.random.default_rng(5)
    # 137 rows of 96: the ratio is not a binary fraction, and single precision anywhere shows.
    for height, width in [(137, 211), (333, 517), (70, 401), (51, 90)]:
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        whole = (0.0, 0.0, float(width), float(height))
        own = _fit(Image.fromarray(pixels), whole, size, resize, INTERPOLATIONS[interpolation])
        np.testing.assert_array_equal(session.run(None, {"pixels": pixels[None]})[0][0], own)
