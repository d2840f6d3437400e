"""Weights from elsewhere: safetensors, or a PyTorch file read without running its code."""

from __future__ import annotations

import pickle  # noqa: TID251 - only for the name of the error that refuses code
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from tenfold.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

#: Keys under which training programs put the weights inside a checkpoint.
_INNER = ("state_dict_ema", "state_dict", "model_ema", "model_state_dict", "model", "weights")


def read_weights(path: str) -> dict[str, Tensor]:
    """A state dictionary from a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file.

    The content decides, not the name. Files that hold code are refused, whatever the environment says.
    Raises WeightsError that says what the file is.
    """
    import torch
    from safetensors.torch import load_file

    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"there is no weights file {path}", fix="check --weights; 'none' starts at random")
    try:
        if _looks_like_safetensors(file):
            return load_file(file)
        # Given explicitly, this holds even where the environment asks for the unsafe way.
        with warnings.catch_warnings():
            # Its remarks on a pickle's protocol say nothing that the refusal below does not say better.
            warnings.simplefilter("ignore", UserWarning)
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path} is refused: this file holds code, not only weights",
            fix="ask its author for a .safetensors file",
        ) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise WeightsError(
            f"{path} is no weights file, or is damaged: {first}", fix="fetch it again"
        ) from None
    return _state(loaded, path)


def _looks_like_safetensors(file: Path) -> bool:
    # Eight bytes of header length, then a JSON object.
    with open(file, "rb") as stream:
        start = stream.read(9)
    return len(start) == 9 and start[8:9] == b"{"


def _state(loaded: Any, path: str) -> dict[str, Tensor]:
    import torch

    for _ in range(2):
        if isinstance(loaded, dict):
            inner = [name for name in _INNER if isinstance(loaded.get(name), dict)]
            if inner:
                loaded = loaded[inner[0]]
    if isinstance(loaded, dict):
        state = {str(key): value for key, value in loaded.items() if isinstance(value, torch.Tensor)}
        if state:
            return state
    raise WeightsError(
        f"{path} holds no weights",
        found=f"a {type(loaded).__name__}",
        fix="give a file that holds a state dictionary",
    )
