"""What is put right in an opened TIFF, and what is left as it is."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pictures import grained, tiff_file
from tenfold.data.images.tiffs import mend_tiff
from tenfold.errors import ImageError


def opened(data: bytes) -> Any:
    return Image.open(io.BytesIO(data), formats=["TIFF"])


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK", "F", "I;16"])
def test_common_forms_are_left_as_they_are(mode: str, options: dict[str, str]) -> None:
    colour = Image.fromarray(grained())
    image = (
        Image.fromarray(np.asarray(colour.convert("L")).astype(np.uint16))
        if mode == "I;16"
        else colour.convert(mode)
    )
    with io.BytesIO() as file:
        image.save(file, "TIFF", **options)
        found = opened(file.getvalue())
    before = list(found.tile)
    mend_tiff(found, "p.tif")
    assert found.tile == before
    assert found.tobytes() == image.tobytes()


def test_planes_of_other_depths_are_refused() -> None:
    strips = [bytes(8 * 16)] * 4
    found = opened(tiff_file(strips, (8, 8), {258: [16] * 4, 262: [5], 277: [4], 284: [2]}))
    with pytest.raises(ImageError, match=r"^p.tif has colour of 16 bits in separate planes"):
        mend_tiff(found, "p.tif")
