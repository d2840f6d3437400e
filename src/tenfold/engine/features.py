"""Features of frozen networks, kept on disk by all that decides them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64

from tenfold.data.encode import Examples
from tenfold.engine.batches import Preparation, column_inputs
from tenfold.engine.predict import predict_features
from tenfold.errors import OutputError
from tenfold.files.atomic import replacing
from tenfold.nn.network import Network

#: Rows that are read together to be digested.
ROWS_AT_ONCE = 64
#: Bytes of a file's sum over its features.
CHECK_BYTES = 16


def kept_features(
    folder: Path | None,
    network: Network,
    examples: Examples,
    rows: Int64[np.ndarray, " rows"],
    preparation: Preparation,
    *,
    autocast: torch.dtype | None = None,
    workers: int = 2,
    at_once: int | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> Float32[np.ndarray, "rows {network.last.in_features}"]:
    """As `predict_features`, from a file where the same network has seen the same rows before.

    folder: of the cache; None keeps nothing. A file that cannot be written or read is done without.
    """
    file = None
    if folder is not None and examples.images:
        key = features_key(network, examples, rows, preparation, autocast)
        file = folder / f"features-{key}.npy"
        with suppress(OSError, ValueError, EOFError), open(file, "rb") as stream:
            check = stream.read(CHECK_BYTES)
            kept = np.load(stream, allow_pickle=False)
            if kept.shape == (len(rows), network.last.in_features) and check == _check(kept):
                return kept
    features = predict_features(
        network,
        examples,
        rows,
        preparation,
        autocast=autocast,
        workers=workers,
        at_once=at_once,
        on_rows=on_rows,
    )
    if file is not None:
        with suppress(OutputError), replacing(file) as stream:
            stream.write(_check(features))
            np.save(stream, features)
    return features


def _check(features: Float32[np.ndarray, "rows width"]) -> bytes:
    return hashlib.blake2b(features.tobytes(), digest_size=CHECK_BYTES).digest()


def features_key(
    network: Network,
    examples: Examples,
    rows: Int64[np.ndarray, " rows"],
    preparation: Preparation,
    autocast: torch.dtype | None,
) -> str:
    """A digest of the weights before the last layer, of the stored pictures and cells of the rows, of how
    they enter the network, and of where it computes."""
    digest = hashlib.blake2b(digest_size=16)
    encoding = preparation.encoding
    how = (encoding.mean, encoding.std, encoding.interpolation, preparation.size, preparation.dtype)
    where = (preparation.device.type, autocast, torch.__version__, torch.get_num_threads())
    digest.update(repr((*how, *where, str(network))).encode())
    for name, value in network.state_dict().items():
        if not name.startswith("last."):
            plain = value.detach().cpu().contiguous().flatten()
            digest.update(name.encode() + plain.view(torch.uint8).numpy().tobytes())
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        for reader in examples.images:
            digest.update(reader.read(some).tobytes())
        for name, cells in column_inputs(examples, some, preparation).items():
            digest.update(name.encode() + cells.cpu().numpy().tobytes())
    return digest.hexdigest()
