"""Whose answers a network learns: a finished network or an ensemble that sees the same views of pictures.

The same augmented view goes through both, and the network learns the teacher's probabilities for it, not the
labels: Beyer, Zhai, Royer, Markeeva, Anil and Kolesnikov 2022, "Knowledge distillation: a good teacher is
patient and consistent" (arXiv 2106.05237). Answers that were computed before are of other views, and teach
less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from tenfold.engine.batches import Preparation
from tenfold.engine.predict import HALF
from tenfold.ensembles.joined import JoinedNetworks, blend_of
from tenfold.errors import RecipeError
from tenfold.networks.opened import OpenedNetwork, open_teacher, teacher_size
from tenfold.networks.predict import load_network
from tenfold.networks.prepare import TrainingWork
from tenfold.nn.augment import resized
from tenfold.nn.heads import Head
from tenfold.nn.network import Network, input_name, uses_channels_last
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Member

#: Rows that go through a teacher at once; on a card many, whose kernels take as long to start for few.
ROWS_AT_ONCE = {"cpu": 16, "cuda": 128}
#: Labels, and what each counts, as `Head.soft_labels` returns them.
SoftLabels = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Member:
    """A network of a teacher. places: target -> (answers, answers) its answers to those of who learns."""

    network: Network
    preparation: Preparation
    places: Mapping[str, Tensor]


@dataclass(frozen=True)
class NetworkTeacher:
    """A teacher's networks, on the device of the training. heads: of who learns.  size: of views.

    autocast: half-precision type of the training, in which the teacher runs, too.
    """

    members: Sequence[_Member]
    heads: Sequence[Head]
    size: tuple[int, int]
    autocast: torch.dtype | None = None

    def label_sets(self, views: list[Tensor]) -> dict[str, SoftLabels]:
        """See `engine.batches.Teacher`. views: (rows, 3, height, width) in 0..1 of each column."""
        most = ROWS_AT_ONCE.get(views[0].device.type, 16)
        half, device = self.autocast, views[0].device.type
        with torch.no_grad(), torch.autocast(device, half or torch.bfloat16, enabled=half is not None):
            parts = [
                self._answers([view[start : start + most] for view in views])
                for start in range(0, len(views[0]), most)
            ]
        return {
            head.name: head.soft_labels(torch.cat([part[head.name] for part in parts])) for head in self.heads
        }

    def _answers(self, views: list[Tensor]) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}
        for member in self.members:
            how = member.preparation
            inputs = {
                input_name(column): how.normalised(resized(view.to(how.dtype), how.size))
                for column, view in enumerate(views)
            }
            for head, answer in zip(member.network.heads, member.network.answers(inputs), strict=True):
                places = member.places.get(head.name)
                if places is not None:
                    own = head.calibrated_tensor(answer) @ places
                    sums[head.name] = sums[head.name] + own if head.name in sums else own
        return sums


def load_teacher(work: TrainingWork, device: torch.device, precision: str = "float32") -> NetworkTeacher:
    """The teacher of a training's recipe, ready to answer in the training's precision.

    Raises RecipeError where its classes, or the way that it resizes pictures, are others.
    """
    path = work.recipe.teacher
    run = open_teacher(work.recipe, work.schema)
    assert run is not None
    # Opened networks and ensembles of them: `open_teacher` refuses others.
    blend = cast("JoinedNetworks", run)
    if not run.members:
        single = Member("teacher", 1.0, (cast("OpenedNetwork", run),))
        blend = blend_of(Path(path), [single], RunRecord({}))
    _check_same(work, blend)
    members = []
    for own, parts in blend.parts():
        network = load_network(own).to(device).eval().requires_grad_(False)
        places = {}
        for part in parts:
            words = work.encoding.classes.get(part.target)
            if part.target not in {head.name for head in work.network.heads}:
                continue
            joined = blend.classes.get(part.target, ())
            matrix = torch.zeros(len(part.columns), len(words or (0,)), dtype=torch.float64)
            for row, column in enumerate(part.columns):
                matrix[row, words.index(joined[column]) if words else 0] = part.weight
            places[part.target] = matrix.to(device)
        layout = uses_channels_last(network)
        preparation = Preparation(
            own.encoding, device, next(network.parameters()).dtype, channels_last=layout
        )
        members.append(_Member(network, preparation, places))
    return NetworkTeacher(members, work.network.heads, teacher_size(run), HALF.get(precision))


def _check_same(work: TrainingWork, blend: JoinedNetworks) -> None:
    for name, words in work.encoding.classes.items():
        theirs = blend.classes.get(name, ())
        if set(words) != set(theirs):
            only = sorted(set(words) ^ set(theirs))
            raise RecipeError(
                f"{work.recipe.teacher} knows other classes of {name}",
                found=f"known to one of the two: {', '.join(only[:5])}",
                fix="give the table that the teacher was trained on",
            )
    hows = {run.encoding.resize for run, _ in blend.parts()} | {work.encoding.resize}
    if len(hows) > 1:
        raise RecipeError(
            f"{work.recipe.teacher} resizes pictures otherwise", found=", ".join(sorted(hows)),
            fix=f"set resize = {blend.parts()[0][0].encoding.resize!r}",
        )  # fmt: skip
