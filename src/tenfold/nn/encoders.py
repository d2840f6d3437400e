"""First layers: from a column to features. The only file that imports timm."""

from __future__ import annotations

import logging
import socket
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

with warnings.catch_warnings():
    # A notebook without widgets need not hear that a progress bar is plain.
    warnings.filterwarnings("ignore", message="IProgress not found")
    import timm
import torch
from jaxtyping import Float, Int64, Shaped
from timm.models import group_parameters
from torch import Tensor, nn

from tenfold.data.encode import ColumnStats
from tenfold.errors import DependencyError, RecipeError, WeightsError, did_you_mean
from tenfold.schema import CategoryColumn, IdColumn, NumberColumn

#: Seconds to wait for a connection to the hub of pretrained weights.
HUB_SECONDS = 3.0
#: Blocks of each stage of the EfficientNet-Lite networks, by their number of blocks (lite1 and lite2 agree).
_LITE_STAGES = {
    16: (1, 2, 2, 3, 3, 4, 1),
    21: (1, 3, 3, 4, 4, 5, 1),
    24: (1, 3, 3, 5, 5, 6, 1),
    30: (1, 4, 4, 6, 6, 8, 1),
}
_LITE_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_LITE_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


class CodeEncoder(nn.Module):
    """Embeddings of ids and categories: a row per word, and row 0 for unknown words.

    A lookup is the product of a one-hot vector and the matrix (docs/maths.md), without the zeros. If a side
    table describes the words, the mean embedding of a word's features is appended to its own row; unknown
    words have no features.

    about: per word, the indices of its features.  features: how many there are.
    """

    side_rows: Int64[Tensor, "words features"]

    def __init__(
        self, words: int, width: int, *, about: Sequence[Sequence[int]] = (), features: int = 0
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(words + 1, width)
        nn.init.normal_(self.table.weight, std=0.05)
        self.width = width
        self.side: nn.Embedding | None = None
        if features:
            side_width = embedding_width(features)
            self.width += side_width
            self.side = nn.Embedding(features + 1, side_width, padding_idx=0)
            nn.init.normal_(self.side.weight[1:], std=0.05)
            most = max(map(len, about), default=0)
            rows = torch.zeros(words + 1, max(1, most), dtype=torch.int64)
            for word, own in enumerate(about, start=1):
                rows[word, : len(own)] = torch.tensor(own, dtype=torch.int64) + 1
            # Not saved with the weights: the encoding has it.
            self.register_buffer("side_rows", rows, persistent=False)

    def forward(self, codes: Int64[Tensor, " rows"]) -> Float[Tensor, "rows {self.width}"]:
        """(rows,) int64 codes -> (rows, width)."""
        own = self.table(codes)
        if self.side is None:
            return own
        rows = self.side_rows[codes]
        count = (rows > 0).sum(dim=1, keepdim=True).clamp(min=1)
        return torch.cat([own, self.side(rows).sum(dim=1) / count], dim=1)

    def sample(self, rows: int, device: str) -> Int64[Tensor, " {rows}"]:
        """An input of `rows` rows, for a memory plan."""
        return torch.zeros(rows, dtype=torch.int64, device=device)


class NumberEncoder(nn.Module):
    """Numbers as they are encoded: the standardized number and a missing-indicator."""

    width = 2

    def forward(self, numbers: Float[Tensor, "rows 2"]) -> Float[Tensor, "rows 2"]:
        """(rows, 2) -> (rows, 2)."""
        return numbers

    def sample(self, rows: int, device: str) -> Float[Tensor, "{rows} 2"]:
        """An input of `rows` rows, for a memory plan."""
        return torch.zeros(rows, self.width, device=device)


def embedding_width(words: int, given: int | None = None) -> int:
    """Width of an embedding: `given`, or 1.6 n^0.56 for n words, the unknown included, at most 128."""
    return given or min(128, round(1.6 * (words + 1) ** 0.56))


def build_column_encoder(
    column: IdColumn | CategoryColumn | NumberColumn, facts: ColumnStats, *, embedding: int | None = None
) -> CodeEncoder | NumberEncoder:
    """The first layer of a tabular column. embedding: see `embedding_width`."""
    if isinstance(column, NumberColumn):
        return NumberEncoder()
    width = embedding_width(len(facts.words), embedding)
    return CodeEncoder(len(facts.words), width, about=facts.about, features=len(facts.features))


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing that a backbone expects: saved with the run, used again at prediction.

    mean, std: per channel, of pixels scaled to 0..1.  interpolation: as timm names it.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str


@cache
def classifier_architectures() -> tuple[str, ...]:
    """Every architecture name of timm."""
    return tuple(timm.list_models())


def check_architecture(arch: str) -> str:
    """The architecture's name. Raises RecipeError, with the nearest name, if timm has none such."""
    if not timm.is_model(arch.partition(".")[0]):
        raise RecipeError(
            f"there is no architecture {arch!r} in timm {timm.__version__}",
            fix=did_you_mean(arch, classifier_architectures()),
        )
    return arch


def preprocessing_of(arch: str) -> Preprocessing:
    """Preprocessing of the pretrained backbone."""
    config = timm.get_pretrained_cfg(check_architecture(arch), allow_unregistered=True)
    if config is None:
        return Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic")
    return Preprocessing(tuple(config.mean), tuple(config.std), config.interpolation or "bicubic")


def build_backbone(
    arch: str, *, image_size: tuple[int, int], drop_path: float = 0.0, pretrained: bool = False
) -> nn.Module:
    """A timm network without its classifier.

    image_size: (height, width) in pixels.  drop_path: highest rate of stochastic depth.
    Raises RecipeError for a name or size that timm refuses, DependencyError if the hub cannot be reached.
    """
    check_architecture(arch)
    wanted: dict[str, Any] = {"num_classes": 0, "img_size": image_size, "drop_path_rate": drop_path or None}
    backbone, last = None, ""
    if pretrained:
        _prepare_hub()
    # Not every architecture takes an image size or stochastic depth: retry with fewer options.
    for without in ((), ("img_size",), ("drop_path_rate",), ("img_size", "drop_path_rate")):
        options = {name: value for name, value in wanted.items() if name not in without}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                backbone = timm.create_model(arch, pretrained=pretrained, **options)
            break
        except TypeError as error:
            last = str(error)
        # First of all: what the hub's client raises may be a ValueError as well.
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            raise DependencyError(
                f"the pretrained weights of {arch} cannot be fetched: {_first_line(error)}",
                fix="give --weights FILE, or --weights none to start from random weights",
            ) from None
        except (AssertionError, ValueError) as error:
            raise RecipeError(
                f"{arch} refuses {image_size[0]}x{image_size[1]} pixels: {_first_line(error)}",
                fix=f"its own size is {native_size(arch)}",
            ) from None
    if backbone is None:
        raise RecipeError(f"timm cannot build {arch}: {last}", fix="choose another architecture")
    return backbone


def _prepare_hub() -> None:
    """Keep the hub's client quiet, and without a connection let it look on this machine only, at once.

    By itself it tries again for more than a minute. A proxy is left to the client.
    """
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or getproxies():
        return
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=HUB_SECONDS).close()
    except OSError:
        constants.HF_HUB_OFFLINE = True


def native_size(arch: str) -> str:
    """The architecture's own picture size, e.g. ``224x224``."""
    config = timm.get_pretrained_cfg(arch, allow_unregistered=True)
    return "x".join(str(side) for side in config.input_size[1:]) if config else "unknown"


def feature_width(backbone: nn.Module, arch: str, image_size: tuple[int, int]) -> int:
    """Number of features of a picture, by a forward pass of an empty picture.

    Raises RecipeError if the network refuses the size.
    """
    training = backbone.training
    backbone.eval()
    reference = next(backbone.parameters())
    try:
        with torch.no_grad():
            features = backbone(
                torch.zeros(1, 3, *image_size, dtype=reference.dtype, device=reference.device)
            )
    except (RuntimeError, AssertionError, ValueError) as error:
        raise RecipeError(
            f"{arch} refuses {image_size[0]}x{image_size[1]} pixels: {_first_line(error)}",
            fix=f"its own size is {native_size(arch)}",
        ) from None
    finally:
        backbone.train(training)
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise RecipeError(
            f"{arch} is not a plain classifier: it returns no vector for a picture",
            fix="choose another architecture",
        )
    return features.shape[1]


def layer_numbers(backbone: nn.Module) -> dict[str, int]:
    """Parameter name -> depth of its layer, 0 at the picture; all 0 if timm states none."""
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        return {name: 0 for name, _ in backbone.named_parameters()}
    depths = cast("dict[str, int]", group_parameters(backbone, matcher(coarse=False), reverse=True))
    return {name: depths.get(name, 0) for name, _ in backbone.named_parameters()}


def has_convolutions(backbone: nn.Module) -> bool:
    """Whether channels-last memory is faster: there are more convolutions than a patch embedding's."""
    return sum(isinstance(module, nn.Conv2d) for module in backbone.modules()) > 2


def recompute_activations(backbone: nn.Module, on: bool = True) -> bool:
    """Turn gradient checkpointing on (Chen et al. 2016, arXiv 1604.06174); False if the architecture has
    none.

    The outputs and gradients stay the same.
    """
    switch = getattr(backbone, "set_grad_checkpointing", None)
    if switch is None:
        return False
    try:
        switch(on)
    except (AssertionError, NotImplementedError):
        return False
    return True


def load_weights(
    backbone: nn.Module, weights: Mapping[str, Shaped[Tensor, " ..."]], source: str
) -> list[str]:
    """Load a state dictionary of timm, of a run, or of efficientnet-lite-pytorch into the backbone.

    Weights of the classifier are ignored, as are those around the backbone in a larger network, such as a
    run's last layer. Returns messages. Raises WeightsError with the keys that do not fit.
    """
    state, left = _part(dict(weights), backbone.state_dict())
    state, notes = _renamed(state)
    head = getattr(backbone, "pretrained_cfg", {}).get("classifier") or ()
    heads = (head,) if isinstance(head, str) else tuple(head)
    classifier = {key for key in state if any(key.startswith(f"{name}.") for name in heads)}
    adapt = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    wanted = backbone.state_dict()
    if adapt is not None and not set(wanted) <= set(state):
        state = adapt(state, backbone)
    elif adapt is not None and any(state[key].shape != wanted[key].shape for key in wanted):
        state = adapt(state, backbone)
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [
        f"{key}: {tuple(state[key].shape)} in the file, {tuple(value.shape)} in the network"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    spoilt = [
        f"{key}: {int((~torch.isfinite(state[key])).sum()):,} values are not finite"
        for key, value in wanted.items()
        if key in state and value.is_floating_point() and not bool(torch.isfinite(state[key]).all())
    ]
    if spoilt:
        raise WeightsError(
            f"{source} is damaged, or of a training that failed", problems=spoilt, fix="give other weights"
        )
    extra = [key for key in state if key not in wanted and key not in classifier]
    # Classifiers of other names are the only extra keys allowed: num_classes=0 removed them here.
    extra = [key for key in extra if not key.startswith(("head.", "fc.", "classifier.", "head_dist."))]
    if missing or wrong or extra:
        problems = [f"{key}: not in the file" for key in missing] + wrong
        problems += [f"{key}: in the file, not in the network" for key in extra]
        fits = len(wanted) - len(missing) - len(wrong)
        raise WeightsError(
            f"{source} does not fit this architecture",
            problems=problems,
            found=f"{fits} of {len(wanted)} keys fit",
            fix="give the --arch that the file was made for",
        )
    backbone.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)
    notes.append(f"{source}: {sum(key in state for key in wanted)} of {len(wanted)} tensors loaded{left}")
    return notes


def _part(
    state: dict[str, Shaped[Tensor, " ..."]], wanted: Mapping[str, Shaped[Tensor, " ..."]]
) -> tuple[dict[str, Shaped[Tensor, " ..."]], str]:
    """The backbone's part of a larger network's state, and a message on the rest."""
    needed = [key for key in wanted if not key.endswith("num_batches_tracked")]
    for prefix in sorted(key.removesuffix(needed[0]) for key in state if key.endswith(f".{needed[0]}")):
        if all(prefix + key in state for key in needed):
            part = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
            rest = [key for key in state if not key.startswith(prefix)]
            shown = ", ".join(rest[:3]) + (", ..." if len(rest) > 3 else "")
            return part, f" from {prefix[:-1]}" + (f"; {len(rest)} left out ({shown})" if rest else "")
    return state, ""


def _renamed(
    state: dict[str, Shaped[Tensor, " ..."]],
) -> tuple[dict[str, Shaped[Tensor, " ..."]], list[str]]:
    for prefix in ("module.", "_orig_mod.", "model.", "backbone."):
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    if "_conv_stem.weight" in state and any(key.startswith("_blocks.") for key in state):
        return _from_lite(state), ["key names of efficientnet-lite-pytorch were translated to timm's"]
    return state, []


def _from_lite(state: dict[str, Shaped[Tensor, " ..."]]) -> dict[str, Shaped[Tensor, " ..."]]:
    blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("_blocks."))
    stages = _LITE_STAGES.get(blocks)
    if stages is None:
        raise WeightsError(
            f"an efficientnet-lite of {blocks} blocks is not known",
            found=f"known are {sorted(_LITE_STAGES)} blocks",
            fix="convert the file to timm's key names",
        )
    position = [(stage, block) for stage, count in enumerate(stages) for block in range(count)]
    expanded = {key.split(".")[1] for key in state if "._expand_conv." in key}
    renamed = {}
    for key, value in state.items():
        first, *rest = key.split(".")
        if first == "_blocks":
            number, layer, *tail = rest
            stage, block = position[int(number)]
            names = _LITE_EXPANDED if number in expanded else _LITE_PLAIN
            renamed[".".join(["blocks", str(stage), str(block), names[layer], *tail])] = value
        else:
            renamed[".".join([_LITE_TOP[first], *rest])] = value
    return renamed


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
