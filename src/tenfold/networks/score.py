"""Scores, thresholds and temperatures from the validation rows, after a training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.data.encode import Encoding
from tenfold.data.tables.table import write_parquet
from tenfold.engine.batches import Preparation
from tenfold.engine.predict import predict_features, predict_views, prediction_autocast
from tenfold.errors import shortened
from tenfold.networks.prepare import TrainingWork
from tenfold.nn.augment import views_of
from tenfold.nn.heads import Head
from tenfold.nn.network import build_heads, uses_channels_last
from tenfold.recipe import Recipe
from tenfold.runs.folder import RunFolder
from tenfold.runs.heldout import held_out_columns
from tenfold.targets.base import Baseline, Labels, TargetStats
from tenfold.targets.words import HIGHER_IS_BETTER, SHORT, short_score
from tenfold.values import Scores, TargetScores, read_score

Floats = NDArray[np.float64]

#: Training rows that the out-of-distribution distance is fitted on.
MOST_FEATURES = 4000


@dataclass
class ValidationResult:
    """Scores of the validation rows, and the encoding tuned on them.

    encoding: with thresholds and temperatures.  scores: target -> score -> value.
    plain_scores: the same of the plain view alone, where there are several.
    calibration: target -> temperature, and the expected calibration error before and after it.
    """

    encoding: Encoding
    scores: dict[str, Scores] = field(default_factory=dict)
    plain_scores: dict[str, Scores] = field(default_factory=dict)
    calibration: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def baseline_answers(work: TrainingWork) -> dict[str, Baseline]:
    """Target -> the answer without a model: the most common label or the mean of training."""
    train = work.split.train
    answers = {
        head.name: head.baseline(work.examples.labels[head.name][train], work.examples.weigh(train))
        for head in work.network.heads
    }
    return {name: answer for name, answer in answers.items() if answer is not None}


def compare_to_linear(linear: TargetScores, scores: TargetScores) -> list[str]:
    """The score of the linear layer on frozen features beside that of the training, target by target."""
    better = "train for more --epochs, or with a lower --lr"
    return _compared(linear, scores, "a linear layer on frozen features", better)


def compare_to_labels(alone: TargetScores, scores: TargetScores) -> list[str]:
    """The score of the same training without extra photos beside that with them, target by target."""
    return _compared(alone, scores, "without the extra photos, on the same rows", "leave --extra out")


def _compared(others: TargetScores, scores: TargetScores, what: str, better: str) -> list[str]:
    """Two scores, target by target; and what to do where the other one is better."""
    notes = []
    for name, floor in others.items():
        key = short_score(floor)
        if not key:
            continue
        before, after = read_score(floor, key), read_score(scores.get(name, {}), key)
        other_text, text = (
            SHORT[key].format(f"{value:.1%}" if key == "error_rate" else f"{value:.4g}")
            for value in (before, after)
        )
        worse = before > after if key in HIGHER_IS_BETTER else before < after
        more = f", which is better: {better}" if worse else ""
        notes.append(f"{name}: {text}; {what}: {other_text}{more}")
    return notes


def evaluate_validation(
    folder: RunFolder, work: TrainingWork, recipe: Recipe, device: torch.device, precision: str
) -> ValidationResult:
    """Predict the validation rows, tune temperatures and thresholds on them, write and score them.

    precision: as `device.pick_precision` returns it.
    """
    valid = work.split.valid
    result, network = ValidationResult(work.encoding), work.network
    dtype = next(network.parameters()).dtype
    preparation = Preparation(work.encoding, device, dtype, channels_last=uses_channels_last(network))
    autocast = prediction_autocast(precision, device)
    result.notes += _fit_ood(work, preparation, autocast)
    if not len(valid):
        return result
    answers, plain = predict_views(
        network, work.examples, valid, preparation, views=views_of(recipe), autocast=autocast
    )
    labels = {head.name: work.examples.labels[head.name][valid] for head in network.heads}
    weights = work.examples.weigh(valid)
    if recipe.calibrate_probabilities:
        for head in network.heads:
            _calibrate(result, head, answers[head.name], labels[head.name], weights)
        network.heads = build_heads(result.encoding, work.schema, recipe)
        answers = {head.name: head.calibrated(answers[head.name]) for head in network.heads}
        plain = {head.name: head.calibrated(plain[head.name]) for head in network.heads}
    for head in network.heads:
        _settle(result, head, head.tuned(answers[head.name], labels[head.name], weights))
    network.heads = build_heads(result.encoding, work.schema, recipe)
    baseline = baseline_answers(work)
    for head in network.heads:
        result.scores[head.name] = head.scores(
            answers[head.name], labels[head.name], baseline=baseline.get(head.name), weights=weights
        )
        if views_of(recipe).count > 1:
            result.plain_scores[head.name] = head.scores(plain[head.name], labels[head.name], weights=weights)
    result.notes += _threshold_notes(result)
    _write(folder, "validation.parquet", work, result.encoding, answers, labels)
    if result.plain_scores:
        _write(folder, "validation_plain.parquet", work, result.encoding, plain, labels)
    return result


def _fit_ood(work: TrainingWork, preparation: Preparation, autocast: torch.dtype | None) -> list[str]:
    """Fit each open target's out-of-distribution distance; returns messages."""
    network, notes = work.network, []
    if not network.familiar:
        return notes
    train, valid = work.split.train, work.split.valid
    rows = train[np.linspace(0, len(train) - 1, min(len(train), MOST_FEATURES)).astype(np.int64)]
    # Rows that trained are nearer than new ones; without validation rows every second one is set aside.
    rows, checked = (rows, valid[:MOST_FEATURES]) if len(valid) else (rows[::2], rows[1::2])
    seen, new = (
        predict_features(network, work.examples, some, preparation, autocast=autocast)
        for some in (rows, checked)
    )
    for index, familiar in network.familiar.items():
        head = network.heads[int(index)]
        name = head.name
        labels = work.examples.labels[name]
        own = (labels[checked] >= 0) & (labels[checked] < len(head.classes))
        if familiar.fit(seen, labels[rows], new[own]):  # type: ignore[operator]
            notes.append(f"{name}: rows that are unlike all {len(rows)} training rows looked at are doubted")
        else:
            notes.append(f"{name}: too few rows to say which are unlike them: none is doubted")
    return notes


def _settle(result: ValidationResult, head: Head, facts: TargetStats) -> None:
    targets = {**result.encoding.targets, head.name: facts}
    result.encoding = result.encoding.model_copy(update={"targets": targets})


def _calibrate(
    result: ValidationResult, head: Head, chance: Floats, labels: Labels, weights: Floats | None = None
) -> None:
    """Fit the target's temperature, and say how much it helps rows that it was not fitted on."""
    temperature = head.temperature(chance, labels, weights)
    if temperature is None:
        return
    facts = result.encoding.targets.get(head.name, TargetStats())
    after, halves = chance.copy(), (np.arange(len(chance)) % 2 == 0, np.arange(len(chance)) % 2 == 1)
    for half, other in (halves, halves[::-1]):
        fitted = head.temperature(chance[half], labels[half], None if weights is None else weights[half])
        after[other] = _with(head, facts, fitted or temperature).calibrated(chance[other])
    _settle(result, head, facts.model_copy(update={"temperature": temperature}))
    figures = {
        "temperature": temperature,
        "ece_before": head.calibration_error(chance, labels, weights),
        "ece_after": head.calibration_error(after, labels, weights),
    }
    result.calibration[head.name] = figures
    result.notes.append(
        f"{head.name}: temperature {temperature:.3f}; expected calibration error {figures['ece_before']:.4f} "
        f"before, {figures['ece_after']:.4f} after (each half of the rows with the other half's temperature)"
    )
    if figures["ece_after"] > figures["ece_before"]:
        result.notes.append(
            f"{head.name}: that is not better: without calibration its probabilities were nearer"
        )
    if head.moved:
        settled = _with(head, facts, temperature)
        moved = head.decode(chance).values != settled.decode(settled.calibrated(chance)).values
        if moved.any():
            result.notes.append(
                f"{head.name}: {int(moved.sum())} of {len(moved)} answers change, since {head.moved}"
            )


def _with(head: Head, stats: TargetStats, temperature: float) -> Head:
    other = copy.copy(head)
    other.stats = stats.model_copy(update={"temperature": temperature})
    return other


def _threshold_notes(result: ValidationResult) -> list[str]:
    notes = []
    for name, facts in result.encoding.targets.items():
        if facts.thresholds:
            pairs = zip(result.encoding.classes[name], facts.thresholds, strict=True)
            said = shortened([f"{word} {least:.2f}" for word, least in pairs])
            rows = read_score(result.scores[name], "scored")
            notes.append(f"{name}: thresholds tuned on {rows:.0f} validation rows: {said}")
    return notes


def _write(
    folder: RunFolder,
    file: str,
    work: TrainingWork,
    encoding: Encoding,
    answers: Mapping[str, Floats],
    labels: Mapping[str, Labels],
) -> None:
    valid = work.split.valid
    names = held_out_columns(work.schema.answers, encoding.classes)
    columns: dict[str, NDArray[np.generic]] = {names.id: work.examples.ids[valid], names.row: valid}
    if work.examples.importance is not None:
        columns[names.weight] = work.examples.importance[valid]
    for head in work.network.heads:
        name = head.name
        for column, words in head.label_columns(labels[name]).items():
            columns[names.label[column]] = words
        columns |= names.answered(name, head.decode(answers[name]), answers[name])
    columns[names.fingerprint] = work.fingerprints[valid]
    write_parquet(folder.file(file), columns)
