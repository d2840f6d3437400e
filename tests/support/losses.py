"""Rows of targets of every kind, with answers and losses computed by torch's own functions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from tenfold.schema import (
    CategoryTarget,
    CountTarget,
    MultiLabelTarget,
    NumberTarget,
    OpenTarget,
    OrderedTarget,
)
from tenfold.targets.base import TargetKind, TargetStats
from tenfold.targets.kinds import kind_of
from tenfold.workbooks.lastlayer import ExplainedRows
from tenfold.workbooks.rows import TargetRows

CLASSES = ("=cat()", "do\"g' <b>", "A1", "a1")
ROWS, WIDTH = 5, 7


def rows_of(
    *kinds: str, smoothing: float = 0.1, temperature: float = 1.0, seed: int = 0, weighed: bool = False
) -> ExplainedRows:
    """One target of each kind (``bounded`` and ``huber`` are numbers), linked to the same features.

    weighed: with weights of classes and rows.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(ROWS, WIDTH))
    targets, weights, biases = [], [], []
    for kind in kinds:
        outputs = {"ordered": 3, "number": 1, "bounded": 1, "huber": 1, "count": 1}.get(kind, len(CLASSES))
        weight, bias = rng.normal(size=(outputs, WIDTH)), rng.normal(size=outputs)
        weights.append(weight)
        biases.append(bias)
        raw = features @ weight.T + bias
        made = target_of(kind, raw, rng, smoothing, temperature)
        made = weighed_target(made, rng) if weighed else made
        own = renamed(made, f"{kind} {len(targets)}")
        targets.append(replace(made, kind=own, task_weight=1.0 + len(targets)))
    return ExplainedRows(
        "runs/x", ["=trained"], [f"@{one}.png" for one in range(ROWS)], ["asked for"] * ROWS, features,
        np.concatenate(weights), np.concatenate(biases), targets, notes=["+note"],
    )  # fmt: skip


def renamed(made: TargetRows, name: str | None = None, **stats: object) -> TargetKind:
    """The target's kind with another name, or other stats."""
    target = made.kind.target if name is None else made.kind.target.model_copy(update={"name": name})
    return kind_of(target, made.classes, made.stats.model_copy(update=stats))


def unlabelled(found: ExplainedRows) -> ExplainedRows:
    """The same rows without any label."""
    targets = [
        replace(
            one, label_words=[""] * ROWS, losses=np.zeros(ROWS), labels=one.kind.unlabelled(ROWS)
        )
        for one in found.targets
    ]  # fmt: skip
    return replace(found, targets=targets)


def weighed_target(made: TargetRows, rng: np.random.Generator) -> TargetRows:
    """The same with weights, and the row losses of questions as torch weighs them."""
    row_weights = rng.uniform(0.5, 2, ROWS)
    if not made.classes:
        return replace(made, row_weights=row_weights)
    yes, no = rng.uniform(0.5, 3, (2, len(CLASSES)))
    if made.kind.exclusive:
        return replace(made, row_weights=row_weights, kind=renamed(made, yes_weights=tuple(yes)))
    part = made.smoothing / (2 if made.kind.kind == "multilabel" else len(CLASSES))
    asked = ~np.isnan(made.truth)
    truth = np.nan_to_num(made.truth)
    weight = torch.from_numpy(np.where(truth == 1, yes, no) * asked)
    soft = torch.from_numpy(truth * (1 - made.smoothing) + part)
    total = F.binary_cross_entropy_with_logits(torch.from_numpy(made.raw), soft, weight, reduction="none")
    losses = (total.sum(1) / weight.sum(1).clamp(min=1e-9)).numpy()
    kind = renamed(made, yes_weights=tuple(yes), no_weights=tuple(no))
    return replace(made, row_weights=row_weights, kind=kind, losses=losses)


def target_of(kind: str, raw: np.ndarray, rng: np.random.Generator, e: float, heat: float) -> TargetRows:
    z = torch.from_numpy(raw)
    codes = rng.integers(0, len(CLASSES), ROWS)
    codes[1] = -1  # a label that is missing
    words = [CLASSES[one] if one >= 0 else "" for one in codes]
    known = torch.from_numpy(codes >= 0)
    safe = torch.from_numpy(np.maximum(codes, 0))
    common = {"raw": raw, "smoothing": e}
    stats = TargetStats(temperature=heat)
    if kind == "category":
        loss = F.cross_entropy(z, safe, reduction="none", label_smoothing=e)
        answers = torch.softmax(z / heat, 1)
        return TargetRows(
            kind=kind_of(CategoryTarget(name=kind), CLASSES, stats),
            labels=codes,
            label_words=words,
            answers=answers.numpy(),
            losses=(loss * known).numpy(),
            **common,
        )
    if kind == "ordered":
        logs = F.pad(F.logsigmoid(z).cumsum(1), (1, 0)) + F.pad(F.logsigmoid(-z), (0, 1))
        loss = F.nll_loss(logs, safe, reduction="none") * (1 - e) - e * logs.mean(1)
        answers = torch.softmax(logs / heat, 1)
        return TargetRows(
            kind=kind_of(OrderedTarget(name=kind), CLASSES, stats),
            labels=codes,
            label_words=words,
            answers=answers.numpy(),
            losses=(loss * known).numpy(),
            **common,
        )
    if kind in ("open", "multilabel"):
        truth = F.one_hot(safe, len(CLASSES)).double()
        if kind == "multilabel":
            truth = torch.from_numpy(rng.integers(0, 2, raw.shape).astype(float))
        asked = known[:, None].repeat(1, len(CLASSES))
        if kind == "multilabel":
            asked[2, 1] = False
        part = e / 2 if kind == "multilabel" else e / len(CLASSES)
        loss = F.binary_cross_entropy_with_logits(z, truth * (1 - e) + part, reduction="none") * asked
        familiar = rng.uniform(0.2, 1, ROWS) if kind == "open" else np.ones(ROWS)
        p = torch.sigmoid(z).numpy() * familiar[:, None]
        answers = 1 / (1 + ((1 - p) / p) ** (1 / heat))
        target = (OpenTarget if kind == "open" else MultiLabelTarget)(name=kind, none='no "one"')
        made = kind_of(target, CLASSES, stats.model_copy(update={"thresholds": (0.3, 0.5, 0.6, 0.7)}))
        labels = codes if kind == "open" else np.where(asked, truth, -1).astype(np.int64)
        return TargetRows(
            kind=made, label_words=made.label_words(labels, np.array(words)), answers=answers, labels=labels,
            losses=(loss.sum(1) / asked.sum(1).clamp(min=1)).numpy(),
            familiar=familiar if kind == "open" else None, **common,
        )  # fmt: skip
    if kind == "count":
        counts = np.where(codes >= 0, rng.poisson(3.0, ROWS).astype(float), np.nan)
        counts[0] = 0.0
        means = 3.0 * z[:, 0].exp()
        own = torch.from_numpy(np.nan_to_num(counts))
        loss = 2 * (F.poisson_nll_loss(means.log(), own, reduction="none") + torch.xlogy(own, own) - own)
        return TargetRows(
            kind=kind_of(CountTarget(name=kind), (), TargetStats(mean=3.0, deviation=2.0)), raw=raw,
            label_words=["" if one != one else f"{one:g}" for one in counts], answers=means[:, None].numpy(),
            losses=loss.numpy() * ~np.isnan(counts), labels=counts,
        )  # fmt: skip
    mean, deviation, low, high = 20.0, 4.0, 9.0, 31.0
    bounded = kind == "bounded"
    value = low + (high - low) * torch.sigmoid(z) if bounded else mean + deviation * z
    labels = np.where(codes[:, None] >= 0, rng.normal(20, 4, (ROWS, 1)), np.nan)
    labels[0] = 50.0  # an error of many deviations
    error = (value - torch.from_numpy(np.nan_to_num(labels))) / deviation
    loss = 2 * F.huber_loss(error, torch.zeros_like(error), reduction="none") if kind == "huber" else error**2
    own = TargetStats(
        mean=mean, deviation=deviation, low=low if bounded else None, high=high if bounded else None
    )
    target = NumberTarget(name=kind, **({"low": 10, "high": 30} if bounded else {}))
    return TargetRows(
        kind=kind_of(target, (), own), raw=raw,
        label_words=["" if one != one else f"{one:g}" for one in labels[:, 0]],
        answers=value.clamp(10, 30).numpy() if bounded else value.numpy(),
        losses=(loss[:, 0].numpy() * ~np.isnan(labels[:, 0])), labels=labels[:, 0], huber=kind == "huber",
    )  # fmt: skip
