"""Processes that share a training, as forks of one that has loaded everything: ``python ranked.py FOLDER``.

Each of `CASES` is played by 2 and 3 processes and by one; its result is kept as ``FOLDER/COUNT-CASE.pt``,
and ``COUNT-CASE-shard.pt`` where each of several keeps a part of the optimizer, ``COUNT-CASE-weights.pt``
where it keeps a part of the weights, too.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tenfold.data.images.cache as cache
from forked import leave
from photos import write_photo
from tenfold.engine.batches import Batch, epoch_order, training_batches
from tenfold.engine.ranks import Ranks, joined_ranks
from tenfold.engine.shards import split_parameters
from tenfold.engine.step import Training, begin_training, train_step
from tenfold.engine.train import fit_network
from tenfold.errors import MemoryBudgetError, RecipeError, TrainingError
from tenfold.events import Event, StepEnded
from tenfold.nn.network import build_network
from tenfold.recipe import Recipe
from tenfold.runs.folder import begin_run
from tenfold.schema import Schema
from tenfold.values import MemoryPlan, Sharding
from tiny import FITS, fill, write_data
from training import (
    EVERY_KIND,
    SCHEMA,
    cells_schema,
    kinds_schema,
    make_encoding,
    make_examples,
    make_kinds,
    make_training,
    state_of,
    with_cells,
)

#: Longest that one case may take, in seconds.
LONGEST = 60
BASE = Recipe(
    arch="test_convnext", weights="none", image_size=32, batch_size=16, batchnorm_group=4, drop_path=0.2,
    dropout=0.3, lr=1e-2, layer_decay=0.8, seed=3,
)  # fmt: skip
ROWS = 38
State = dict[str, Any]
Case = Callable[[Ranks, Path], Any]


def changed(**values: object) -> Recipe:
    return Recipe(**{**BASE.model_dump(), **values})


#: What is split over the ranks.
SHARD = [Sharding.NOTHING]
SUFFIX = {Sharding.NOTHING: "", Sharding.OPTIMIZER: "-shard", Sharding.WEIGHTS: "-weights"}


def shared(training: Training, ranks: Ranks) -> Training:
    training.network.train()
    if not SHARD[0] or ranks.count == 1:
        return replace(training, ranks=ranks)
    again = begin_training(
        *(training.network, training.preparation.encoding, training.recipe),
        device=torch.device("cpu"),
        precision=training.precision,
        micro_batch=training.micro_batch,
        ranks=ranks,
        shards=split_parameters(training.network, ranks, SHARD[0]),
    )
    kept = [parameter for group in again.optimizer.param_groups for parameter in group["params"]]
    assert len(kept) < len(list(training.network.parameters()))
    nowhere = [name for name, value in training.network.named_parameters() if value.isnan().all()]
    assert bool(nowhere) == (SHARD[0] == Sharding.WEIGHTS)
    return again


def whole_state(training: Training) -> State:
    """The weights after a training, which ends here."""
    training.shards.leave()
    return state_of(training.network)


def batches_of(training: Training, examples: Any, teacher: Any = None) -> list[Batch]:
    recipe = training.recipe
    order = epoch_order(np.arange(examples.rows), batch_size=recipe.batch_size, seed=recipe.seed, epoch=0)
    return list(
        training_batches(
            *(examples, order, recipe, training.preparation),
            epoch=0,
            first_step=0,
            workers=0,
            group=training.group,
            teacher=teacher,
            ranks=training.ranks,
        )
    )


def after(
    ranks: Ranks, recipe: Recipe, examples: Any, *, micro_batch: int = 16, schema: Schema = SCHEMA
) -> State:
    """Weights and losses after an epoch."""
    training = shared(make_training(recipe, micro_batch=micro_batch, schema=schema), ranks)
    losses = []
    for step, batch in enumerate(batches_of(training, examples)):
        result = train_step(training, batch, step)
        losses.append(result.losses)
    state = whole_state(training)
    ranks.check_same(str([float(value.double().sum()) for value in state.values()]), "weights")
    return {"state": state, "losses": losses}


def missing_labels(ranks: Ranks, folder: Path) -> State:
    return after(ranks, BASE, make_examples(ROWS, missing=0.4), micro_batch=3)


def other_numbers_of_passes(ranks: Ranks, folder: Path) -> State:
    # 6 and 7 rows, or 4, 4 and 5; in the last batch a rank of three has none.
    recipe = changed(batch_size=13, optimizer="sgd")
    return after(ranks, recipe, make_examples(28, missing=0.3), micro_batch=2)


def hardly_any_label(ranks: Ranks, folder: Path) -> State:
    # Most parts have none, and the last batch has 6 rows.
    return after(ranks, BASE, make_examples(ROWS, missing=0.95))


def a_batch_of_one_row(ranks: Ranks, folder: Path) -> State:
    return after(ranks, changed(mixup=0.4), make_examples(33, missing=0.2))


def norms_in_groups(ranks: Ranks, folder: Path) -> State:
    drawn = {"mixup": 0.4, "augment": "strong", "flip": "both"}
    recipe = changed(arch="test_resnet", image_size=32, clip_norm=0.1, **drawn)
    return after(ranks, recipe, make_examples(ROWS, size=32, missing=0.3), micro_batch=4)


def fewer_groups_than_ranks(ranks: Ranks, folder: Path) -> State:
    recipe = changed(arch="test_resnet", image_size=32, batchnorm_group=16, optimizer="lamb")
    return after(ranks, recipe, make_examples(20, size=32))


def every_kind(ranks: Ranks, folder: Path) -> State:
    recipe = changed(task_weights="learned", mixup=0.3, optimizer="sgd", label_smoothing=0.1)
    schema = kinds_schema(EVERY_KIND)
    return after(ranks, recipe, make_kinds(ROWS, missing=0.5), micro_batch=5, schema=schema)


def cells_alone(ranks: Ranks, folder: Path) -> State | str:
    schema = cells_schema(pictures=False)
    examples = with_cells(make_kinds(ROWS, missing=0.9), pictures=False)
    try:
        return after(ranks, changed(unknown_rate=0.3), examples, schema=schema)
    except RecipeError as error:
        return str(error)


def taught(ranks: Ranks, folder: Path) -> State:
    """Labels and weights that follow from the pictures that each rank sees."""

    class Teacher:
        size = (32, 32)

        def label_sets(self, views: Any) -> Any:
            mean = views[0].double().mean((1, 2, 3))
            return {
                name: [((mean * 7).long() % count, mean), ((mean * 5).long() % count, 1 - mean)]
                for name, count in (("disease", 3), ("variety", 2))
            }

    training = shared(make_training(changed(mixup=0.2), micro_batch=16), ranks)
    for step, batch in enumerate(batches_of(training, make_examples(33), Teacher())):
        train_step(training, batch, step)
    return {"state": whole_state(training)}


def out_of_memory(ranks: Ranks, folder: Path) -> State:
    """The last of several ranks runs short once in a forward pass, and once half-way through an update."""
    training = shared(make_training(BASE, micro_batch=16), ranks)
    last = ranks.count > 1 and ranks.number == ranks.count - 1
    forward, update = training.network.forward, training.optimizer.step
    short = {"forward": last, "update": last}

    def short_forward(inputs: Any) -> Any:
        if short["forward"] and training.network.context.step == 1:
            short["forward"] = False
            raise torch.OutOfMemoryError("CUDA out of memory in a test")
        return forward(inputs)

    def short_update(*given: Any, **more: Any) -> Any:
        done = update(*given, **more)
        if short["update"] and training.network.context.step == 2:
            short["update"] = False
            raise torch.OutOfMemoryError("CUDA out of memory in a test")
        return done

    training.network.forward = short_forward
    training.optimizer.step = short_update
    for step, batch in enumerate(batches_of(training, make_examples(48, missing=0.3))):
        train_step(training, batch, step)
    del training.network.forward
    state = whole_state(training)
    ranks.check_same(str([float(value.double().sum()) for value in state.values()]), "weights")
    return {"state": state, "micro_batch": training.micro_batch, "notes": training.notes}


def short_in_a_layer(ranks: Ranks, folder: Path) -> State | None:
    """The last rank runs short within a split block: in a backward pass, and in a forward pass. The data are
    those of `out_of_memory`."""
    if SHARD[0] != Sharding.WEIGHTS:
        return None
    training = shared(make_training(BASE, micro_batch=16), ranks)
    network = training.network
    layer = network.get_submodule("encoders.image0.stages.2.blocks.0.mlp.fc1")
    short = {1: True, 2: False} if ranks.number == ranks.count - 1 else {}

    def short_layer(*given: Any) -> None:
        step = network.context.step
        if step in short and torch.is_grad_enabled() == short[step]:
            del short[step]
            raise torch.OutOfMemoryError("CUDA out of memory in a test")

    layer.register_forward_pre_hook(short_layer)
    for step, batch in enumerate(batches_of(training, make_examples(48, missing=0.3))):
        train_step(training, batch, step)
    return {"state": whole_state(training), "notes": training.notes}


def half_overflows(ranks: Ranks, folder: Path) -> State:
    """In float16, where one parameter's gradient overflows in the second step; the last rank has no row."""
    recipe = changed(precision="float16", batch_size=2, augment="off")
    training = shared(make_training(recipe, micro_batch=16, precision="float16"), ranks)
    weight = training.network.last.weight
    weight.register_hook(lambda given: given * math.inf if training.network.context.step == 1 else given)
    updated = [
        train_step(training, batch, step).updated
        for step, batch in enumerate(batches_of(training, make_examples(8)))
    ]
    return {"state": whole_state(training), "updated": updated, "scale": training.scaler.get_scale()}


def never_enough_memory(ranks: Ranks, folder: Path) -> str:
    training = shared(make_training(BASE, micro_batch=2), ranks)
    last = ranks.count > 1 and ranks.number == ranks.count - 1

    def short_forward(inputs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory in a test")

    if last:
        training.network.forward = short_forward
    try:
        train_step(training, batches_of(training, make_examples(16))[0], 0)
    except MemoryBudgetError as error:
        return str(error)
    return ""


FULL = changed(
    arch="test_resnet", image_size=32, epochs=2, frozen_epochs=1, ema=0.9, keep="best", augment="off",
    precision="float64", batch_size=16,
)  # fmt: skip


def trained(
    ranks: Ranks,
    folder: Path | None,
    *,
    resume: bool = False,
    stop: int = 0,
    error: BaseException | None = None,
) -> State:
    """A whole training of some epochs with validation rows. stop, error: what happens in that epoch."""
    encoding = make_encoding(FULL)
    network, _ = build_network(encoding, SCHEMA, FULL, fetch=False)
    run = begin_run(folder, resume=resume)[0] if folder and ranks.first else None
    examples = make_examples(50, size=32, missing=0.2)

    def listen(event: Event) -> None:
        if stop and isinstance(event, StepEnded) and event.epoch == stop:
            raise error or KeyboardInterrupt

    try:
        done = fit_network(
            *(network, encoding, examples),
            train=np.arange(40),
            valid=np.arange(40, 50),
            recipe=FULL,
            plan=MemoryPlan(8, 1, checkpoint=False, workers=0),
            device=torch.device("cpu"),
            precision="float64",
            folder=run,
            identity={"test": 1},
            on_progress=listen,
            ranks=ranks,
            shard=SHARD[0],
        )
    finally:
        if run is not None:
            run.leave()
    done.shards.leave()
    records = [{**epoch.record(), "seconds": 0, "peak_bytes": 0} for epoch in done.history]
    return {"state": state_of(network), "history": records, "kept": done.kept, "stopped": done.stopped}


def whole_training(ranks: Ranks, folder: Path) -> State:
    return trained(ranks, None)


def spoilt(ranks: Ranks, folder: Path) -> State:
    """The second epoch fails: the weights of the first one are left."""
    return trained(ranks, None, stop=1, error=TrainingError("spoilt"))


#: Which training of two ranks others go on with.
GONE_ON = {(1, ""): "-shard", (3, ""): "-weights", (3, "-shard"): "", (3, "-weights"): "-shard"}


def resumed(ranks: Ranks, folder: Path) -> State:
    """Two ranks begin and are stopped in the second epoch; one process, and three, go on.

    What two have begun with one thing split, others go on with another split: see `GONE_ON`.
    """
    if ranks.count == 2:
        with suppress(KeyboardInterrupt):
            trained(ranks, folder / f"begun{SUFFIX[SHARD[0]]}", stop=1)
        return {}
    begun = folder / f"begun{GONE_ON[ranks.count, SUFFIX[SHARD[0]]]}.part"
    own = folder / f"by{ranks.count}{SHARD[0]}"
    if ranks.first:
        shutil.copytree(begun, own.with_name(f"{own.name}.part"))
    return trained(ranks, own, resume=True)


CASES: tuple[Case, ...] = (
    missing_labels, other_numbers_of_passes, hardly_any_label, a_batch_of_one_row, norms_in_groups,
    fewer_groups_than_ranks, every_kind, cells_alone, taught, out_of_memory, short_in_a_layer,
    half_overflows, never_enough_memory, whole_training, spoilt, resumed,
)  # fmt: skip


def command(folder: Path) -> int:
    """``tenfold fit`` on pictures and further ones without labels, with several epochs, as one of the ranks.
    Only the first may decode."""

    def not_again(*given: object, **more: object) -> None:
        raise AssertionError("a picture is decoded a second time")

    if os.environ.get("RANK", "0") != "0":
        cache.decode_file = not_again
    os.chdir(folder)
    count = os.environ.get("WORLD_SIZE", "1")
    words = [
        *fill(FITS["photos"], out=f"photos{count}"),
        "--cache",
        f"cache{count}",
        "--batchnorm-group",
        "4",
    ]
    run(*words, "--extra", "more", "--probe", *(["--shard-weights"] if count != "1" else []))
    return 0


def limited(folder: Path) -> int:
    """A table in 30 seconds, in which more epochs fit than there are by default."""
    os.chdir(folder)
    given = [word for word in fill(FITS["table"], out="limited") if word not in ("--epochs", "3")]
    run(*given, "--time-limit", "30s", "--shard")
    return 0


def late(folder: Path) -> int:
    """No epoch fits: every rank ends by itself, with the code of an error."""
    os.chdir(folder)
    given = [word for word in fill(FITS["table"], out="late") if word not in ("--epochs", "3")]
    run(*given, "--time-limit", "0.01", code=2)
    return 0


def run(*words: str, code: int = 0) -> None:
    """A command, which must end with this code."""
    from tenfold.cli.main import main

    sys.argv = ["tenfold", *words, "--device", "cpu"]
    signal.alarm(LONGEST)
    try:
        main()
    except SystemExit as ended:
        assert (ended.code or 0) == code
    else:
        assert code == 0


def play(count: int, folder: Path, work: Callable[[Path], int]) -> None:
    """Fork so many ranks and let each do some work."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            own = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count)}
            os.environ.update({**where, **own} if count > 1 else {})
            leave(lambda: work(folder))
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert not any(codes), f"{count} ranks ended with {codes}"


def _all(folder: Path) -> int:
    torch.set_num_threads(1)
    with joined_ranks(torch.device("cpu")) as ranks:
        for case, SHARD[0] in product(CASES, Sharding if ranks.count > 1 else (Sharding.NOTHING,)):
            signal.alarm(LONGEST)
            result = case(ranks, folder)
            if ranks.first:
                name = f"{ranks.count}-{case.__name__}{SUFFIX[SHARD[0]]}.pt"
                torch.save(result, folder / name)
        signal.alarm(0)
    return 0


if __name__ == "__main__":
    write_data(Path(sys.argv[1]))
    for number in range(6):
        write_photo(
            Path(sys.argv[1], "more", f"{number}.png"), ("cat", "dog", "bird")[number % 3], 100 + number
        )
    for ranks, work in ((2, command), (1, command), (2, limited), (2, late)):
        play(ranks, Path(sys.argv[1]), work)
    for ranks in (2, 3, 1):
        play(ranks, Path(sys.argv[1]), _all)
