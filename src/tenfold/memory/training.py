"""What a plan traces: the training step of `engine.step` itself, on fake tensors, or any network's.

A `TracedTraining` prepares a batch, computes a micro-batch, updates the weights and evaluates.
`NetworkTraining` does so with the functions that a real training calls; another project's step can be written
beside it, for a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Num, UInt8
from torch import Tensor, nn

from tenfold.data.encode import Encoding, Examples
from tenfold.engine.batches import Batch, training_batches
from tenfold.engine.gather import block_parameters
from tenfold.engine.optim import AveragedWeights, swapped_weights
from tenfold.engine.predict import batch_answers, evaluation_mode
from tenfold.engine.shards import largest_shard
from tenfold.engine.step import Training, average_weights, begin_training, micro_batch_loss, update_weights
from tenfold.errors import RecipeError
from tenfold.memory.fake import build_untouched, fake_device, to_fake
from tenfold.memory.quick import QuickFakes
from tenfold.nn.augment import PLAIN
from tenfold.nn.encoders import build_backbone, feature_width
from tenfold.nn.exact import RowContext, group_sizes
from tenfold.nn.heads import build_head
from tenfold.nn.network import Network, build_network, input_name, recompute
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, ImageColumn, Schema
from tenfold.values import Sharding

#: An architecture of timm; a function that builds a network; or a network, `Network` or any other.
Trainable = str | Callable[[], nn.Module] | nn.Module


#: What a micro-batch is given: a tree of tensors.
Given = TypeVar("Given")


@runtime_checkable
class TracedTraining(Protocol[Given]):
    """What is trained, and how: everything a trace has to run. All methods but `structure` run on fakes."""

    @property
    def network(self) -> nn.Module:
        """The real network; its values do not matter."""
        ...

    #: Type that the floating parameters get, or None to leave them.
    dtype: torch.dtype | None

    def begin(self, network: nn.Module, device: str) -> None:
        """Take the fake copy of `network` that the other methods train; what this allocates is not traced."""
        ...

    def structure(self, rows: int) -> Hashable:
        """Equal for two numbers of rows with the same list of allocations."""
        ...

    def prepare(self, rows: int) -> object:
        """Make a batch on the device; what is returned stays alive for the step."""
        ...

    def slices(self, rows: int) -> Given:
        """What a micro-batch of so many rows is given; its memory is the batch's."""
        ...

    def forward(self, given: Given, rows: int) -> Float[Tensor, ""]:
        """The loss that the backward pass starts from."""
        ...

    def update(self) -> Callable[[], object]:
        """Make the optimizer; returns the function that takes one step, all gradients being there."""
        ...

    def evaluate(self) -> object:
        """Evaluate some rows, gradients being off."""
        ...


class NetworkTraining:
    """The training of a network, by the functions of `engine.step` that a real training calls.

    recipe: its `image_size` is what the network takes.  precision: as `device.pick_precision` returns it.
    classes: of the target, where the network is not a `Network`.
    checkpoint: recompute activations in the backward pass.  blocks: of these alone (`network.recompute`).
    evaluated: rows that are evaluated together between epochs; 0 for none.
    parts: how many devices split the training; the one that keeps the most is traced.  sharding: what of it.
    offload: the optimizer's state and averaged weights rest in the host's memory.
    """

    def __init__(
        self,
        network: Trainable,
        recipe: Recipe,
        *,
        precision: str,
        classes: int = 1000,
        checkpoint: bool = False,
        blocks: tuple[str, ...] = (),
        evaluated: int = 0,
        parts: int = 1,
        sharding: Sharding = Sharding.OPTIMIZER,
        offload: bool = False,
    ) -> None:
        # Mixing takes values, which a fake does not have; it needs one more batch of pictures for a moment.
        self.recipe = Recipe(**{**recipe.model_dump(), "mixup": 0.0})
        self.dtype = torch.float64 if precision == "float64" else None
        self._precision, self._evaluated = precision, evaluated
        self._checkpoint, self._blocks, self._offload = checkpoint, blocks, offload
        self._encoding = Encoding(
            classes={"target": tuple(map(str, range(classes)))}, image_size=recipe.image_size
        )
        if isinstance(network, str):
            made = build_untouched(lambda: _build(network, self.recipe, self._encoding))
        else:
            made = network if isinstance(network, nn.Module) else build_untouched(network)
        self.network = made if isinstance(made, Network) else WholeNetwork(made, classes)
        self.shards = largest_shard(self.network, parts, sharding)
        if self.shards.apart:
            self._checkpoint, self._blocks = True, tuple(block_parameters(self.network))
        # Outside of a trace, where tensors have values.
        encoders: Mapping[str, Any] = dict(self.network.encoders.items())
        self._columns = {
            name: encoder.sample(1, "cpu").numpy()
            for name, encoder in encoders.items()
            if name not in self.network.backbones
        }

    def begin(self, network: nn.Module, device: str) -> None:
        """See `TracedTraining`."""
        if not isinstance(network, Network):
            raise TypeError("the copy of a Network is a Network")
        if self._checkpoint and not recompute(network, blocks=self._blocks):
            names = ", ".join(type(each).__name__ for each in network.backbones.values())
            raise RecipeError(
                f"{names} cannot recompute its activations",
                fix="leave checkpoint off, or choose another architecture",
            )
        self._training = self._make(network)
        self._averaged = self._average(network)

    def _average(self, network: Network) -> AveragedWeights | None:
        if not self.recipe.ema:
            return None
        return AveragedWeights(network, self.recipe.ema, self.shards, offload=self._offload)

    @property
    def absent(self) -> frozenset[str]:
        """Names of the parameters of blocks that others keep."""
        return frozenset(name for name in self.shards.apart if not self.shards.keeps(name))

    @property
    def gathered(self) -> int:
        """Numbers of the weights of a block that others keep, in the block that has most of them."""
        absent = self.absent
        blocks = block_parameters(self.network).values() if absent else ()
        sizes = (sum(p.numel() for name, p in each.items() if name in absent) for each in blocks)
        return max(sizes, default=0)

    @property
    def others(self) -> float:
        """What others keep of the parameters, as a multiple of what this device keeps."""
        named = dict(self.network.named_parameters())
        whole, own = (sum(each.numel() for each in some.values()) for some in (named, self.shards.own(named)))
        return whole / own - 1 if own else 0.0

    def dropped(self) -> dict[int, bool]:
        """Numbers of the trained parameters that others keep: their gradients are gone before the update, and
        those of split blocks (true) at once."""
        named = [name for name, each in self._training.network.named_parameters() if each.requires_grad]
        others = {number: name for number, name in enumerate(named) if not self.shards.keeps(name)}
        return {number: name in self.shards.apart for number, name in others.items()}

    def _make(self, network: Network) -> Training:
        device = next(network.parameters()).device
        training = begin_training(
            network,
            self._encoding,
            self.recipe,
            device=device,
            precision=self._precision,
            micro_batch=1,
            averaged=False,
            move=False,
            shards=self.shards,
            offload=self._offload,
        )
        four = [parameter for parameter in network.parameters() if parameter.ndim == 4]
        last = any(each.is_contiguous(memory_format=torch.channels_last) for each in four)
        training.preparation = replace(training.preparation, channels_last=last)
        return training

    @property
    def grouped(self) -> bool:
        """Whether a micro-batch must be a whole number of BatchNorm groups."""
        return bool(self.network.context.norms) and isinstance(self.recipe.batchnorm_group, int)

    def groups(self, rows: int) -> tuple[int, ...]:
        """Sizes of the BatchNorm groups of so many rows."""
        group = self.recipe.batchnorm_group
        return group_sizes(rows, group) if self.grouped and isinstance(group, int) else (1,) * rows

    def structure(self, rows: int) -> Hashable:
        """See `TracedTraining`: with BatchNorm in groups, the number of groups decides."""
        if not self.grouped:
            return None
        groups = self.groups(rows)
        return len(groups) if groups[0] == groups[-1] else (len(groups), rows)

    def prepare(self, rows: int) -> object:
        """See `engine.batches.training_batches`."""
        batches = self._batches(rows, self.recipe)
        return next(batches), batches  # what the generator holds while a step runs is held, too

    def _batches(self, rows: int, recipe: Recipe) -> Iterator[Batch]:
        examples = _blank_examples(self._training.network, self._columns, rows, recipe.image_size)
        return training_batches(
            examples,
            [np.arange(rows)],
            recipe,
            self._training.preparation,
            epoch=0,
            first_step=0,
            workers=0,
            group=self._training.group,
        )

    def slices(self, rows: int) -> tuple[Batch, list[Num[Tensor, " rows *_"]]]:
        """See `engine.batches.Batch.split`."""
        as_they_are = self.recipe.model_copy(update={"augment": "off", "flip": "none"})
        batch = next(self._batches(rows, as_they_are))
        labels = [
            each for sets in batch.targets.values() for some in sets for each in (some.labels, some.weights)
        ]
        return batch, [batch.rows, *batch.inputs.values(), *labels]

    def forward(self, given: tuple[Batch, list[Num[Tensor, " rows *_"]]], rows: int) -> Float[Tensor, ""]:
        """See `engine.step.micro_batch_loss`."""
        network = self._training.network
        loss = micro_batch_loss(self._training, given[0], 0, {head.name: 0.0 for head in network.heads})
        network.context.discard_statistics()
        return loss

    def update(self) -> Callable[[], object]:
        """See `engine.step.update_weights`."""
        training = replace(self._training, averaged=self._average(self._training.network))

        def step() -> None:
            update_weights(training)
            average_weights(training, 0)

        return step

    def evaluate(self) -> None:
        """See `engine.predict.batch_answers`."""
        if not self._evaluated:
            return
        training, rows = self._training, self._evaluated
        network, preparation = training.network, training.preparation
        examples = _blank_examples(network, self._columns, rows, self.recipe.image_size)
        index = np.arange(rows)
        with (
            swapped_weights(network, self._averaged),
            evaluation_mode(network, preparation, training.autocast),
        ):
            batch_answers(network, preparation, examples, index, PLAIN)


class WholeNetwork(Network):
    """Any module from pictures to the raw outputs of a category, as a `Network`."""

    def __init__(self, module: nn.Module, classes: int) -> None:
        nn.Module.__init__(self)
        self.encoders = nn.ModuleDict({input_name(0): module})
        self.heads = (build_head(CategoryTarget(name="target"), tuple(map(str, range(classes)))),)
        self.log_variances = None
        self.familiar = nn.ModuleDict()
        self.context = RowContext(0)

    def forward(self, inputs: Mapping[str, Num[Tensor, " rows *_"]]) -> tuple[Float[Tensor, "rows _"], ...]:
        raw = self.encoders[input_name(0)](inputs[input_name(0)])
        # A distilled network has two outputs, which are trained together.
        total: Any = sum(raw) if isinstance(raw, (tuple, list)) else raw
        return (total,)

    def answers(self, inputs: Mapping[str, Num[Tensor, " rows *_"]]) -> list[Float64[Tensor, "rows _"]]:
        return [self.heads[0].probabilities(raw) for raw in self(inputs)]


@dataclass(frozen=True)
class _BlankImages:
    """A reader of blank pictures; no page of them is touched."""

    size: tuple[int, int]

    def read(self, rows: Int64[np.ndarray, " rows"]) -> UInt8[np.ndarray, "rows height width 3"]:
        return np.zeros((len(rows), *self.size, 3), dtype=np.uint8)


def _blank_examples(
    network: Network, columns: dict[str, Num[np.ndarray, " 1 *_"]], rows: int, size: tuple[int, int]
) -> Examples:
    labels = {head.name: np.zeros_like(head.unlabelled(rows)) for head in network.heads}
    # All are known: the most that a loss can look at.
    weights = {
        head.name: np.ones_like(head.label_weights(labels[head.name], np.ones(rows)))
        for head in network.heads
    }
    return Examples(
        ids=np.zeros(rows, dtype=object),
        images=tuple(_BlankImages(size) for _ in network.backbones),
        labels=labels,
        weights=weights,
        columns={name: np.repeat(sample, rows, axis=0) for name, sample in columns.items()},
    )


def _build(arch: str, recipe: Recipe, encoding: Encoding) -> Network:
    """The network that a training from one column of pictures builds, without its pretrained weights."""
    schema = Schema(inputs=(ImageColumn(name="image", folder="."),), targets=(CategoryTarget(name="target"),))
    recipe = Recipe(**{**recipe.model_dump(), "arch": arch, "weights": "none"})
    return build_network(encoding, schema, recipe, fetch=False, width_of=_fake_width)[0]


def check_architecture_size(arch: str, image_size: tuple[int, int]) -> nn.Module:
    """The architecture's body for pictures of this size, without its memory where that can be.

    Raises RecipeError for a name that there is not, or a size that it refuses.
    """
    try:
        body = build_untouched(lambda: build_backbone(arch, image_size=image_size))
        _fake_width(body, arch, image_size)
    except RecipeError:
        # A few networks cannot run on fakes: what is refused is asked once more with a real picture.
        body = build_backbone(arch, image_size=image_size)
        feature_width(body, arch, image_size)
    return body


def _fake_width(body: nn.Module, arch: str, image_size: tuple[int, int]) -> int:
    """Return the `feature_width` of a fake copy: nothing is computed."""
    mode = QuickFakes()
    with fake_device(mode, "cpu", "native"):
        return feature_width(to_fake(body, mode, "cpu", None), arch, image_size)


def first_line(error: BaseException) -> str:
    """An error's message, on one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
