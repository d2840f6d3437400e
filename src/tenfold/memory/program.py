"""What a plan traces: the training step of `engine.train` in its own words, or any network's.

A `Program` says what is prepared for a batch, what a micro-batch computes, what the optimizer does and
what an evaluation holds. `ImageProgram` is this project's own training; another project's step can be
written beside it, for a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tenfold.errors import RecipeError
from tenfold.memory.fake import build_untouched, fake_device, to_fake
from tenfold.nn.augment import augment
from tenfold.nn.encoders import build_backbone, feature_width, native_size
from tenfold.nn.exact import group_sizes, make_batch_exact
from tenfold.nn.heads import CategoryHead
from tenfold.nn.network import Network, input_name, uses_channels_last
from tenfold.schema import CategoryTarget

Cast = AbstractContextManager[Any]
#: Optimizers by name. All keep their defaults on a GPU: many tensors at a time.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": lambda parameters, **options: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, **options),
    "plain-sgd": lambda parameters, **options: torch.optim.SGD(parameters, lr=1e-3, **options),
}
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Settings:
    """What of a recipe and of a plan decides the memory of a step.

    image_size: (height, width).  precision: ``float16``, ``bfloat16``, ``float32`` or ``float64``.
    optimizer: one of `OPTIMIZERS`.  checkpoint: recompute activations in the backward pass.
    evaluated: rows that are evaluated together between epochs; 0 for none.
    Others: as in `tenfold.recipe.Recipe`.
    """

    image_size: tuple[int, int]
    precision: str
    classes: int = 1000
    optimizer: str = "adamw"
    checkpoint: bool = False
    batchnorm_group: int | Literal["frozen"] = 16
    clip_norm: float = 1.0
    ema: float = 0.99
    dropout: float = 0.2
    drop_path: float = 0.1
    label_smoothing: float = 0.1
    augment: str = "light"
    evaluated: int = 0


@runtime_checkable
class Program(Protocol):
    """What is trained, and how: everything a trace has to run. All methods run on a ghost."""

    #: The real network; its values do not matter.
    network: nn.Module
    #: Half-precision type of autocast, or None; type of the floating parameters, or None to leave them.
    autocast: torch.dtype | None
    dtype: torch.dtype | None

    def structure(self, rows: int) -> Any:
        """Equal for two numbers of rows whose micro-batches are one list of requests."""
        ...

    def prepare(self, rows: int, device: str) -> Any:
        """Make a batch on the device; what is returned stays alive for the step."""
        ...

    def slices(self, rows: int, device: str) -> Any:
        """What a micro-batch of so many rows is given; its memory belongs to the batch."""
        ...

    def forward(self, network: nn.Module, given: Any, rows: int, cast: Cast) -> Float[Tensor, ""]:
        """The loss that goes back. `cast` is the context of autocast."""
        ...

    def update(self, network: nn.Module, trained: Sequence[nn.Parameter]) -> Callable[[], object]:
        """Make the optimizer; returns what takes one step, all gradients being there."""
        ...

    def evaluate(self, network: nn.Module, device: str, cast: Cast) -> Any:
        """Evaluate some rows, gradients being off."""
        ...


class ImageProgram:
    """This project's training of a network from pictures, as `engine.train` does it.

    network: an architecture; or a function that builds, or a network that is, either a `Network` or any
    module from pictures (rows, 3, height, width) to numbers (rows, classes).
    """

    def __init__(
        self, network: str | Callable[[], nn.Module] | nn.Module, settings: Settings, *, device: str
    ) -> None:
        self.settings = settings
        self.autocast = HALF.get(settings.precision)
        self.dtype = torch.float64 if settings.precision == "float64" else None
        self._many = device == "cuda"
        self.network = (
            network
            if isinstance(network, nn.Module)
            else build_untouched(
                (lambda: _build_network(network, settings, device)) if isinstance(network, str) else network
            )
        )
        #: Columns of pictures, each of which a batch holds.
        self._pictures = len(self.network.backbones) if isinstance(self.network, Network) else 1
        if settings.checkpoint:
            set_checkpointing(self.network)
        four = [parameter for parameter in self.network.parameters() if parameter.ndim == 4]
        last = any(each.is_contiguous(memory_format=torch.channels_last) for each in four)
        self._layout = torch.channels_last if last else torch.contiguous_format

    @property
    def grouped(self) -> bool:
        """Whether a micro-batch must be a whole number of BatchNorm groups."""
        return (
            isinstance(self.network, Network)
            and bool(self.network.context.norms)
            and isinstance(self.settings.batchnorm_group, int)
        )

    def groups(self, rows: int) -> tuple[int, ...]:
        """Sizes of the BatchNorm groups of so many rows."""
        group = self.settings.batchnorm_group
        return group_sizes(rows, group) if self.grouped and isinstance(group, int) else (1,) * rows

    def structure(self, rows: int) -> Any:
        """See `Program`: with BatchNorm in groups, the number of groups decides what is asked for."""
        if not self.grouped:
            return None
        groups = self.groups(rows)
        return len(groups) if groups[0] == groups[-1] else (len(groups), rows)

    def prepare(self, rows: int, device: str) -> Any:
        """See `engine.batches.training_batches`."""
        height, width = self.settings.image_size
        numbers = torch.empty(rows, dtype=torch.int64, device=device)
        normal = []
        for _ in range(self._pictures):
            stored = torch.empty(rows, height, width, 3, dtype=torch.uint8, device=device)
            images = stored.permute(0, 3, 1, 2).to(self.dtype or torch.float32).mul_(1 / 255)
            del stored
            if self.settings.augment != "off":
                images = augment(
                    images,
                    numbers,
                    seed=0,
                    epoch=0,
                    strength=self.settings.augment,
                    flip="horizontal",
                    min_scale=0.75,
                )
            mean = torch.zeros(3, 1, 1, dtype=images.dtype, device=device)
            normal.append(((images - mean) / mean).contiguous(memory_format=self._layout))
        return images, *normal, numbers

    def slices(self, rows: int, device: str) -> Any:
        """See `engine.batches.Batch.split`."""
        height, width = self.settings.image_size
        kind = self.dtype or torch.float32
        images = torch.empty(rows, 3, height, width, dtype=kind, device=device, memory_format=self._layout)
        labels = torch.empty(rows, dtype=torch.int64, device=device)
        return images, labels, torch.empty(rows, dtype=torch.float64, device=device)

    def forward(self, network: nn.Module, given: Any, rows: int, cast: Cast) -> Float[Tensor, ""]:
        """See `engine.train.train_step`."""
        images, labels, weights = given
        if isinstance(network, Network):
            network.context.begin(0, labels, self.groups(rows))
            with cast:
                raw = network(network.sample_inputs(images))
            network.context.end_forward()
            network.context.discard_statistics()
        else:
            with cast:
                raw = network(images)
            raw = tuple(raw) if isinstance(raw, (tuple, list)) else (raw,)
        total = raw[0].new_zeros(()).float()
        for outputs in raw:
            total = total + _loss_sum(outputs, labels, weights, self.settings.label_smoothing) / 64.0
        return total * torch.ones((), device=images.device) if self.autocast is torch.float16 else total

    def update(self, network: nn.Module, trained: Sequence[nn.Parameter]) -> Callable[[], object]:
        """See `engine.train.train_step`, `engine.optim.build_optimizer` and `AveragedWeights`."""
        averaged = [value.detach().clone() for value in _state(network)] if self.settings.ema else []
        # The project's optimizer has one group with weight decay and one without.
        groups = [[p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]]
        optimizer = OPTIMIZERS[self.settings.optimizer](
            [{"params": group} for group in groups if group], foreach=self._many
        )
        found = torch.zeros((), device=trained[0].device)

        def step() -> None:
            gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
            if self.autocast is torch.float16:
                torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, found)
            nn.utils.clip_grad_norm_(trained, self.settings.clip_norm or float("inf"), foreach=self._many)
            optimizer.step()
            if averaged:
                with torch.no_grad():
                    torch._foreach_lerp_(averaged, _state(network), 0.01)

        return step

    def evaluate(self, network: nn.Module, device: str, cast: Cast) -> Any:
        """See `engine.predict.predict_network`, and `swapped_weights` in `engine.optim`."""
        rows = self.settings.evaluated
        if not rows:
            return None
        own = [value.detach().clone() for value in _state(network)] if self.settings.ema else []
        network.eval()
        given = self.slices(rows, device)
        others = [torch.empty_like(given[0]) for _ in range(self._pictures - 1)]
        with cast:
            if isinstance(network, Network):
                raw = network(network.sample_inputs(given[0]))
            else:
                raw = network(given[0])
        return own, others, raw


def set_checkpointing(network: nn.Module) -> None:
    """Recompute activations in the backward pass, block by block; RecipeError where a backbone cannot."""
    backbones = network.backbones.values() if isinstance(network, Network) else (network,)
    for backbone in backbones:
        switch = getattr(backbone, "set_grad_checkpointing", None)
        try:
            if switch is None:
                raise AssertionError("it has no blocks to recompute")
            switch(True)
        except AssertionError as error:
            raise RecipeError(
                f"{type(backbone).__name__} cannot recompute its activations: {error}",
                fix="leave checkpoint off, or choose another architecture",
            ) from None


def _build_network(arch: str, settings: Settings, device: str) -> Network:
    body = build_backbone(arch, image_size=settings.image_size, drop_path=settings.drop_path)
    width = _feature_width(body, arch, settings.image_size)
    head = CategoryHead(CategoryTarget(name="target"), tuple(str(index) for index in range(settings.classes)))
    network = Network({input_name(0): body}, width, [head], settings.dropout)
    network.context = make_batch_exact(network, seed=0, batchnorm_group=settings.batchnorm_group)
    if uses_channels_last(network):
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def check_architecture_size(arch: str, image_size: tuple[int, int]) -> nn.Module:
    """The architecture's body for pictures of this size, without its memory where that can be.

    Raises RecipeError for a name that there is not, or a size that it refuses.
    """
    try:
        body = build_untouched(lambda: build_backbone(arch, image_size=image_size))
        _feature_width(body, arch, image_size)
    except RecipeError:
        # A few networks cannot run as ghosts: what is refused is asked once more with a real picture.
        body = build_backbone(arch, image_size=image_size)
        feature_width(body, arch, image_size)
    return body


def _feature_width(body: nn.Module, arch: str, image_size: tuple[int, int]) -> int:
    """What `nn.encoders.feature_width` finds with a picture, found with a ghost."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with fake_device(mode, "cpu", "native"), torch.no_grad():
        ghost = to_fake(body, mode, "cpu", None).eval()
        try:
            features = ghost(torch.empty(1, 3, *image_size))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise RecipeError(
                f"{arch} refuses {image_size[0]}x{image_size[1]} pixels: {first_line(error)}",
                fix=f"its own size is {native_size(arch)}",
            ) from None
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise RecipeError(
            f"{arch} is not a plain classifier: it returns no vector for a picture",
            fix="choose another architecture",
        )
    return features.shape[1]


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _state(network: nn.Module) -> list[Float[Tensor, " ..."]]:
    return [value for value in [*network.parameters(), *network.buffers()] if value.is_floating_point()]


def _loss_sum(
    raw: Float[Tensor, "rows outputs"],
    labels: Int64[Tensor, " rows"],
    weights: Float64[Tensor, " rows"],
    smoothing: float,
) -> Float[Tensor, ""]:
    """`nn.heads.CategoryHead.loss_sum` where every row is known: a ghost cannot tell which are."""
    every = torch.arange(raw.shape[0], device=raw.device)
    raw, labels, weights = raw[every], labels[every], weights[every]
    raw = raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
    logs = F.log_softmax(raw, dim=1)
    loss = -logs.gather(1, labels[:, None]).squeeze(1)
    if smoothing:
        loss = (1.0 - smoothing) * loss - smoothing * logs.mean(dim=1)
    return (weights.to(loss.dtype) * loss).sum()
