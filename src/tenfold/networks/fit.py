"""The training of a network, from a table to the files of its run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.data.encode import Encoding, Examples
from tenfold.engine.batches import steps_per_epoch
from tenfold.engine.checkpoint import to_array
from tenfold.engine.device import (
    free_memory,
    keep_freed_memory,
    one_thread,
    peak_bytes,
    pick_precision,
    process_bytes,
    process_peak,
    reset_peak,
)
from tenfold.engine.gather import block_parameters
from tenfold.engine.ranks import ONE_RANK, Ranks, joined_ranks, rank_device
from tenfold.engine.shards import largest_shard
from tenfold.engine.statistics import STATISTICS_ROWS
from tenfold.engine.train import Trained, fit_network
from tenfold.errors import MemoryBudgetError, RecipeError, RunError
from tenfold.events import Detail, begin_stage
from tenfold.memory.cards import MIB, Band, parse_bytes, show_bytes
from tenfold.memory.choose import plan_to_fit
from tenfold.memory.plan import PlanRequest
from tenfold.memory.probe import measure_peak
from tenfold.networks.extra import ExtraAnswers, answer_extra, check_extra, with_extra
from tenfold.networks.inputs import cache_folder, open_source
from tenfold.networks.opened import ALONE, OpenedNetwork, resolved_recipe
from tenfold.networks.prepare import TrainingWork, choices_identity, prepare_training
from tenfold.networks.score import (
    baseline_answers,
    compare_to_labels,
    compare_to_linear,
    evaluate_validation,
)
from tenfold.networks.teacher import load_teacher
from tenfold.networks.timing import LATEST, PLANNED, epochs_within, size_within
from tenfold.nn.exact import cut_groups, group_sizes
from tenfold.nn.network import Network, layer_widths
from tenfold.processes import this_rank
from tenfold.recipe import (
    FEW_STEPS,
    SMALLEST_BATCH,
    Recipe,
    with_defaults_for_rows,
)
from tenfold.remedies import option
from tenfold.runs.fitting import run_fit
from tenfold.runs.folder import RunFolder, differences
from tenfold.runs.job import Fitted, Notes, PeakMemory
from tenfold.runs.options import FitOptions, Machine
from tenfold.runs.reading import table_facts
from tenfold.runs.record import nan_to_none
from tenfold.schema import Schema
from tenfold.values import MemoryPlan, Sharding, savings

#: What this process holds is rounded to.
CONTEXT_STEP = 32 * MIB
#: Copies of a layer's features that a step holds of each row: before and after its rectifier and its dropout,
#: with their masks, and the gradients of these.
CELL_COPIES = 8


class NetworkFit:
    """The training of a network, from a table to the files of its run.

    table: a path, a data frame, a mapping of columns or a `Table`.
    """

    word = "training"

    def __init__(self, schema: Schema, recipe: Recipe, table: object, options: FitOptions) -> None:
        recipe.check()
        check_extra(recipe, schema, options.time_limit, options.reading)
        self.asked = recipe
        self.schema, self.recipe, self.table = schema, resolved_recipe(recipe, schema), table
        self.options, self.device = options, rank_device(options.machine.device)
        self.ranks, self._told = ONE_RANK, False
        self.started, self.given = time.monotonic(), recipe.model_fields_set

    @property
    def deadline(self) -> float:
        """When the training must have ended, by `time.monotonic`."""
        limit = self.options.time_limit
        return math.inf if limit is None else self.started + LATEST * limit

    @contextmanager
    def machine(self) -> Iterator[PeakMemory]:
        """The other ranks, if any. One thread on a CPU for the small layers of a table without pictures."""
        sharding = self.options.machine.sharding
        if sharding and this_rank().count == 1:
            asked, what = "shard", "the optimizer's state"
            if sharding == Sharding.WEIGHTS:
                asked, what = "shard_weights", "weights, gradients and the optimizer's state"
            raise RecipeError(
                f"{option(asked)} splits {what} over several devices, and there is one",
                fix="add --devices with their number, or leave it out",
            )
        with (
            training_on(self.device, small=not self.schema.images) as peak,
            # A training within another one has its ranks already.
            nullcontext(self.ranks) if self.ranks.count > 1 else joined_ranks(self.device) as self.ranks,
        ):
            # Each of these makes the ranks wait for each other; the recipe is compared once it is known.
            waits = sharding, self.options.machine.probe, self.options.time_limit
            self.ranks.check_same(repr(waits), "--shard, --shard-weights, --probe or --time-limit")
            yield peak
            if not self._told:
                self.tell_ranks(None)
            self.ranks.wait()

    def tell_ranks(self, start: Start | None) -> Start | None:
        """Tell the further ranks, once, what begins; they get what the first one says. None for nothing."""
        self._told = True
        return self.ranks.from_first(start)

    def take_part(self) -> Path | None:
        """Share the training of the first rank, which alone writes; returns its run's folder in the end.
        None where the run had finished already.

        Raises RunError where this rank does not see that folder, or has read another table.
        """
        notes = Notes()
        with self.machine():
            work = self.prepare(notes)
            start = self.tell_ranks(None)
            if start is not None:
                _check_start(start, work.start(start.final, start.work))
                shards = work.fit(None, notes)[1].shards
                with shards.reachable():
                    pass  # the first rank scores
                shards.leave()
        return start.final if start else None

    def continues(self, recipe: Mapping[str, object]) -> None:
        """Nothing: its defaults are those of earlier versions."""

    def prepare(self, notes: Notes) -> _Prepared:
        """Rows, network and split; and how they fit this machine."""
        reading = self.options.reading
        if reading.on_progress is None:
            reading = replace(reading, on_progress=self.options.on_progress)
        recipe = self._sized(notes)
        rule = self.options.split_rule
        begin_stage(self.options.on_progress, "reading the table")
        with self.ranks.in_turn():
            work = prepare_training(self.schema, recipe, self.table, reading, notes, split_rule=rule)
        return _Prepared(self, self._within_time(work, recipe, notes))

    def _sized(self, notes: Notes) -> Recipe:
        """The recipe with a size of pictures that leaves enough epochs in the time limit."""
        limit, recipe = self.options.time_limit, self.recipe
        given = "image_size" in self.given or "epochs" in self.given or recipe.start
        if limit is None or not self.schema.images or given:
            return recipe
        table, _ = open_source(self.schema, self.table, self.options.reading)
        left = self.started + PLANNED * limit - time.monotonic()
        found = size_within(recipe, left, table.rows, self.device, self.ranks.count)
        size, said = self.ranks.from_first(found)
        notes.add([said] if said else [])
        return recipe.model_copy(update={"image_size": size})

    def _within_time(self, work: TrainingWork, recipe: Recipe, notes: Notes) -> TrainingWork:
        """The training with as many epochs as the time limit allows, where the recipe gives no number."""
        limit = self.options.time_limit
        if limit is None or "epochs" in self.given:
            return work
        precision = pick_precision(work.recipe.precision, self.device)
        machine, ranks = self.options.machine, self.ranks
        plan = agreed_plan(work.recipe, machine, work, self.device, precision, ranks)
        left = self.started + PLANNED * limit - time.monotonic()
        epochs, said = epochs_within(
            *(work, plan, self.device, precision),
            left=left,
            limit=limit,
            ranks=ranks,
            shard=machine.sharding,
        )
        notes.add([said])
        own = with_defaults_for_rows(recipe.model_copy(update={"epochs": epochs}), len(work.split.train))
        chosen = choices_identity(self.schema, own)
        return replace(work, recipe=own, identity={**work.identity, "recipe": chosen})


@contextmanager
def training_on(device: torch.device, *, small: bool) -> Iterator[PeakMemory]:
    """A device for a training: its peak memory is counted from here on. small: one thread on a CPU."""
    if device.type == "cpu":
        keep_freed_memory()
    reset_peak(device)
    small = small and device.type == "cpu"
    with one_thread() if small else nullcontext():
        yield lambda: peak_bytes(device)
    if not small:
        free_memory()


@dataclass(frozen=True)
class Start:
    """What the first rank tells the others before a training: where it writes, and what is trained."""

    final: Path
    work: Path
    identity: Mapping[str, object]


@dataclass(frozen=True)
class _Prepared:
    job: NetworkFit
    work: TrainingWork

    @property
    def identity(self) -> Mapping[str, object]:
        return self.work.identity

    @property
    def precision(self) -> str:
        """What the recipe's precision means on this device."""
        return pick_precision(self.work.recipe.precision, self.job.device)

    def start(self, final: Path, work: Path) -> Start:
        """What the ranks must have in common. Machines differ in what "auto" means, and another precision is
        another training."""
        return Start(final, work, {**self.identity, "precision": self.precision})

    def fit(self, folder: RunFolder | None, notes: Notes) -> tuple[MemoryPlan, Trained, OpenedNetwork | None]:
        """Plan and train, with the other ranks where there are some, of which only the first has a folder.

        Returns the training on the labels alone, too, where extra photos learn its answers.
        """
        work, recipe, device, ranks = self.work, self.work.recipe, self.job.device, self.job.ranks
        machine, precision, tell = self.job.options.machine, self.precision, self.job.options.on_progress
        begin_stage(tell, "planning the memory")
        plan = agreed_plan(recipe, machine, work, device, precision, ranks)
        notes.add(_describe(work, recipe, device, precision, plan))
        notes.add(_shared(ranks, _groups(recipe, work), machine.sharding, work.network))
        if machine.offload and device.type != "cuda":
            notes.add([f"{option('offload')} saves nothing here: the device's memory is the host's"])
        if machine.probe:
            notes.add([_probe(work, recipe, plan, device, precision, ranks, machine.sharding)])
        examples, extra, answers, alone = work.examples, None, None, None
        if work.extra is not None:
            examples, extra = with_extra(examples, work.extra, work.split.train)
            if not recipe.teacher:
                alone = self._labels_alone(folder, notes)
                # The first rank alone has a run to ask.
                found = self._answers(alone, examples, extra, precision) if alone is not None else None
                answers = ranks.from_first(found)
        trained = fit_network(
            work.network,
            work.encoding,
            examples,
            train=work.split.train,
            valid=work.split.valid,
            recipe=recipe,
            plan=plan,
            device=device,
            precision=precision,
            folder=folder,
            identity={**work.identity, "precision": precision},
            on_progress=tell,
            deadline=self.job.deadline,
            cache=cache_folder(self.job.options.reading),
            teacher=load_teacher(work, device, precision) if recipe.teacher else None,
            extra=extra,
            answers=answers,
            ranks=ranks,
            shard=machine.sharding,
        )
        return plan, trained, alone

    def train(self, folder: RunFolder, notes: Notes) -> Fitted:
        """Plan, train, score the validation rows, and write the network."""
        work, recipe, device, precision = self.work, self.work.recipe, self.job.device, self.precision
        self.job.tell_ranks(self.start(folder.final.resolve(), folder.path.resolve()))
        plan, trained, alone = self.fit(folder, notes)
        begin_stage(self.job.options.on_progress, "scoring the validation rows")
        notes.add(trained.notes)
        with trained.shards.reachable():
            result = evaluate_validation(folder, work, recipe, device, precision)
        trained.shards.leave()
        notes.add(result.notes)
        notes.add(compare_to_linear(trained.linear, result.scores))
        notes.add(compare_to_labels(alone.record.targets if alone else {}, result.scores))
        write_network(folder, work.network, result.encoding, trained, {"arch": recipe.arch})
        record = {
            "kind": "network",
            "rows": len(work.examples.ids),
            "train_rows": len(work.split.train),
            "valid_rows": len(work.split.valid),
            "epochs": len(trained.history),
            "kept_epoch": trained.kept + 1,
            "fingerprint": work.fingerprint,
            **({"weighted_by": work.schema.weight} if work.schema.weight else {}),
            **table_facts(self.job.table, self.job.options.reading.table),
            "targets": nan_to_none(result.scores),
            "without_views": nan_to_none(result.plain_scores),
            "calibration": nan_to_none(result.calibration),
            "majority": baseline_answers(work),
            **({"linear": nan_to_none(trained.linear)} if trained.linear else {}),
            **({"extra_rows": len(work.extra.names)} if work.extra is not None else {}),
            **({"without_extra": nan_to_none(alone.record.targets)} if alone is not None else {}),
            "precision": precision,
            "device": str(device),
            "plan": _plan_record(
                plan, cut_batch(recipe, work, trained.micro_batch, self.job.ranks), process_peak(device)
            ),
            **({"ranks": self.job.ranks.count} if self.job.ranks.count > 1 else {}),
        }
        fix = "a lower --lr, or --precision bfloat16 where float16 was used"
        return Fitted(work.schema, recipe, record, trained.stopped, fix)

    def _labels_alone(self, folder: RunFolder | None, notes: Notes) -> OpenedNetwork | None:
        """The same training on the labels alone: it has not seen the held-out rows, and gives the answers
        that extra photos learn. None on ranks without a folder, which share it."""
        job = self.job
        alone = NetworkFit(job.schema, job.asked.model_copy(update={"extra": ""}), job.table, job.options)
        alone.ranks = self.job.ranks
        if folder is None:
            alone.take_part()
            return None
        path = f"{folder.final}{ALONE}"
        notes.add([f"first on the labels alone, in {path}, whose answers the extra photos learn"])
        run = cast("OpenedNetwork", run_fit(alone, path, resume=folder.resumes, log=notes.tell))
        if run.record.fingerprint != json.loads(json.dumps(self.work.fingerprint)):
            raise RunError(f"{path} was trained on other rows than these", fix="train anew, without --resume")
        return run

    def _answers(
        self, alone: OpenedNetwork, examples: Examples, extra: NDArray[np.int64], precision: str
    ) -> ExtraAnswers:
        begin_stage(self.job.options.on_progress, "answering the extra photos")
        heads, train = self.work.network.heads, self.work.split.train
        return answer_extra(
            alone, examples, extra, heads, train=train, device=self.job.device, precision=precision
        )


def write_network(
    folder: RunFolder,
    network: Network,
    encoding: Encoding,
    trained: Trained,
    about: Mapping[str, str],
    *,
    indent: int | None = 2,
) -> None:
    """Write the files of a trained network: encoding, epochs, weights."""
    folder.write_text("encoding.json", encoding.model_dump_json(indent=indent) + "\n")
    history = [json.dumps(nan_to_none(record.record())) + "\n" for record in trained.history]
    folder.write_text("history.jsonl", "".join(history))
    weights = {name: to_array(value) for name, value in network.state_dict().items()}
    folder.write_arrays("weights.safetensors", weights, about)


def _check_start(first: Start, own: Start) -> None:
    """Refuse to share a training that is another one, or whose folder this rank does not see."""
    rank = this_rank().number
    if not first.work.is_dir():
        raise RunError(
            f"rank {rank} does not see {first.work}, where rank 0 writes",
            fix="give -o a folder that every machine sees",
        )
    changed = differences(first.identity, own.identity)
    if changed:
        raise RunError(
            f"rank {rank} has prepared another training than rank 0",
            problems=changed,
            fix="the same table, pictures and kind of device for every rank",
        )


def plan_training(
    recipe: Recipe,
    machine: Machine,
    work: TrainingWork,
    device: torch.device,
    precision: str,
    ranks: Ranks = ONE_RANK,
) -> MemoryPlan:
    """Plan how this training fits this machine, before the first step and without running any of it.

    On a CPU without a budget nothing is planned: up to 32 rows go through at once.
    Raises MemoryBudgetError with the parts and what would help where nothing fits.
    """
    groups = _groups(recipe, work)
    batch = sum(ranks.largest_part(groups))
    if not work.schema.images:
        return plan_cells(machine, work, batch, device, ranks)
    if machine.budget is None and device.type != "cuda":
        asked = min(machine.micro_batch or min(batch, 32), batch)
        cut = cut_batch(recipe, work, asked, ranks)
        notes = [f"a micro-batch of {max(cut)} rows: BatchNorm groups are not cut"] if cut[0] > asked else []
        again = machine.checkpoint or machine.shard_weights
        return MemoryPlan(max(cut), len(cut), again, notes=tuple(notes))
    size = parse_bytes(machine.budget or "auto")
    several = work.schema.columns or len(work.schema.images) > 1
    request = PlanRequest(
        size.size_bytes,
        recipe.model_copy(update={"batch_size": sum(groups), "precision": precision}),
        device.type,
        size.card,
        micro_batch=machine.micro_batch,
        classes=work.network.last.out_features,
        checkpoint=machine.checkpoint,
        context=_own_context(work) if device.type == "cpu" else None,
        devices=ranks.count,
        shard=machine.shard,
        shard_weights=machine.shard_weights,
        offload=machine.offload and device.type == "cuda",
        largest=False,
    )
    return plan_to_fit(work.network if several else recipe.arch, request)


def agreed_plan(
    recipe: Recipe,
    machine: Machine,
    work: TrainingWork,
    device: torch.device,
    precision: str,
    ranks: Ranks,
) -> MemoryPlan:
    """`plan_training` of the rank with the smallest micro-batch, for all of them."""
    plan = plan_training(recipe, machine, work, device, precision, ranks)
    return ranks.from_first(min(ranks.to_first(plan) or [plan], key=lambda each: each.micro_batch))


def cut_batch(recipe: Recipe, work: TrainingWork, micro: int, ranks: Ranks = ONE_RANK) -> list[int]:
    """Sizes of the micro-batches that a batch, or a rank's part of it, is cut into: at most `micro` rows."""
    return cut_groups(ranks.largest_part(_groups(recipe, work)), micro)


def _groups(recipe: Recipe, work: TrainingWork) -> tuple[int, ...]:
    """Rows of each BatchNorm group of a batch, or of each row alone."""
    batch, group = min(recipe.batch_size, work.rows_per_epoch), recipe.batchnorm_group
    if isinstance(group, int) and work.network.context.norms:
        return group_sizes(batch, group)
    return (1,) * batch


def plan_cells(
    machine: Machine, work: TrainingWork, batch: int, device: torch.device, ranks: Ranks = ONE_RANK
) -> MemoryPlan:
    """The plan of a network without pictures, by counting: four copies of its weights and the gradients,
    and of every row the features of every layer, forward and backward.

    Where devices split the optimizer, of the one that keeps the most of it.
    Raises MemoryBudgetError where no row fits.
    """
    weights, kept = _weights_and_kept(work.network, ranks.count if machine.shard else 1)
    offload = machine.offload and device.type == "cuda"
    kept = 0 if offload else kept
    row = 4 * layer_widths(work.network) * CELL_COPIES
    size = parse_bytes(machine.budget or "auto").size_bytes
    held = process_bytes()
    beside = weights + 3 * kept  # gradients; two moments and the average
    room = size - held - beside
    micro = machine.micro_batch or batch
    if machine.budget is not None and machine.micro_batch is None:
        micro = min(batch, room // row)
    if micro < 1 or (machine.budget is not None and room < row * min(micro, batch)):
        trained = show_bytes(weights + beside)
        raise MemoryBudgetError(
            f"a micro-batch of {max(1, min(micro, batch))} rows of this table's network does not fit "
            f"{show_bytes(size)}",
            parts=f"process {show_bytes(held)}  weights, gradients and optimizer {trained}",
            fix=f"a budget of {show_bytes(held + weights + beside + row * max(1, micro))}, or a smaller body",
        )
    micro = min(micro, batch)
    parts = {"weights": weights, "gradients": weights, "optimizer": 2 * kept, "activations": micro * row}
    needed = sum(parts.values()) + kept + held
    return MemoryPlan(
        micro,
        accumulation=-(-batch // micro),
        checkpoint=False,
        predicted_bytes=needed,
        band_bytes=(needed, needed + CONTEXT_STEP),
        parts={**parts, "averaged weights": kept, "process": held},
        workers=0,
        offload=offload,
    )


def _weights_and_kept(network: Network, parts: int) -> tuple[int, int]:
    """Bytes of a network, and of the largest of so many parts that its optimizer is split into."""
    state = network.state_dict()
    own = largest_shard(network, parts).own(state)
    weights, kept = (
        sum(each.numel() * each.element_size() for each in some.values()) for some in (state, own)
    )
    return weights, kept


def _own_context(work: TrainingWork) -> Band:
    """What this process holds beside its tensors: all that it has now, less the weights.

    Rounded up, so that the same training finds its plan on disk.
    """
    weights = sum(each.numel() * each.element_size() for each in work.network.state_dict().values())
    held = -(-max(process_bytes() - weights, 0) // CONTEXT_STEP) * CONTEXT_STEP
    # Code and threads that the first step brings, and pictures read ahead.
    return Band(held, held + CONTEXT_STEP, held + 4 * CONTEXT_STEP)


def _probe(
    work: TrainingWork,
    recipe: Recipe,
    plan: MemoryPlan,
    device: torch.device,
    precision: str,
    ranks: Ranks,
    shard: Sharding,
) -> str:
    """Return predicted and measured peak, from two steps of the largest batch on the real device."""
    measured = measure_peak(
        work.network,
        work.encoding,
        work.examples,
        train=work.split.train,
        recipe=recipe,
        plan=plan,
        device=device,
        precision=precision,
        ranks=ranks,
        shard=shard,
    )
    predicted = show_bytes(plan.predicted_bytes) if plan.predicted_bytes else "not planned (give --budget)"
    return f"probe: predicted peak {predicted}, measured {show_bytes(measured)}"


def _plan_record(plan: MemoryPlan, cut: list[int], measured: int) -> dict[str, object]:
    """The plan with its predicted and the measured memory, for the run folder."""
    return {
        "micro_batch": max(cut),
        "accumulation": len(cut),
        "checkpoint": plan.checkpoint,
        **({"blocks": list(plan.blocks)} if plan.blocks else {}),
        **({"offload": True} if plan.offload else {}),
        "predicted_bytes": plan.predicted_bytes,
        "measured_bytes": measured,
        "band_bytes": list(plan.band_bytes),
        "parts": dict(plan.parts),
    }


def _describe(
    work: TrainingWork, recipe: Recipe, device: torch.device, precision: str, plan: MemoryPlan
) -> list[str]:
    everything = sum(parameter.numel() for parameter in work.network.parameters())
    head = sum(parameter.numel() for parameter in work.network.last.parameters())
    trained = everything if recipe.body_lr > 0 and recipe.epochs else head
    alone = f"; the {head:,} of the last layer alone at first" if recipe.frozen_epochs else ""
    head_first = f"epochs: {recipe.frozen_epochs} of the last layer alone, then {recipe.epochs} of all layers"
    return [
        Detail(f"columns: {work.schema.described}"),
        f"rows: {len(work.split.train)} train, {len(work.split.valid)} validation",
        *work.summary,
        Detail(f"parameters: {trained:,} trained, {everything - trained:,} frozen{alone}"),
        *([head_first] if recipe.frozen_epochs else []),
        ", ".join(
            [
                f"device {device}, {precision}; {plan.micro_batch} rows at once x {plan.accumulation}",
                *savings(plan.checkpoint, plan.blocks, plan.offload),
            ]
        ),
        *([Detail(f"planned peak: {show_bytes(plan.predicted_bytes)}")] if plan.predicted_bytes else []),
        _steps(recipe, work.rows_per_epoch),
        *map(Detail, _norms(work.network, recipe, len(work.split.train))),
        *plan.notes,
    ]


def _shared(ranks: Ranks, groups: tuple[int, ...], shard: Sharding, network: Network) -> list[str]:
    """How several devices share a batch, and what they split."""
    if ranks.count == 1:
        return []
    rows = [sum(Ranks(number, ranks.count).part(groups)[1]) for number in range(ranks.count)]
    few = ", since BatchNorm groups are not cut: a larger --batch-size or a smaller --batchnorm-group"
    split = "each device keeps a part of the optimizer's state and of the averaged weights"
    if shard == Sharding.WEIGHTS:
        blocks = {id(p): p.numel() for block in block_parameters(network).values() for p in block.values()}
        share = sum(blocks.values()) / sum(each.numel() for each in network.parameters())
        split += f", and of the weights and gradients of blocks, which are {share:.0%} of all"
    return [
        f"{ranks.count} devices share each batch of {sum(rows)} rows: {min(rows)} to {max(rows)} rows each"
        + (few if min(rows) < max(rows) // 2 and len(groups) < sum(groups) else ""),
        *([split] if shard else []),
    ]


def _norms(network: Network, recipe: Recipe, rows: int) -> list[str]:
    """What BatchNorm averages over."""
    layers, group = len(network.context.norms), recipe.batchnorm_group
    if not layers:
        return []
    if group == "frozen":
        return [f"{layers} BatchNorm layers, frozen"]
    return [
        f"{layers} BatchNorm layers, averaged over fixed groups of at most {group} rows; statistics of "
        f"{min(STATISTICS_ROWS, rows)} training rows after each epoch"
    ]


def _steps(recipe: Recipe, rows: int) -> str:
    """How many optimizer steps there are; where they are few, how to take more."""
    steps, wider = (
        steps_per_epoch(rows, batch) * (recipe.frozen_epochs + recipe.epochs)
        for batch in (recipe.batch_size, SMALLEST_BATCH)
    )
    more = f": --batch-size {SMALLEST_BATCH} takes {wider}" if wider > steps else ": more --epochs take more"
    text = (
        f"{steps} optimizer steps of {min(recipe.batch_size, rows)} rows, learning rate up to {recipe.lr:g}"
    )
    return text + (more if steps < FEW_STEPS else "")
