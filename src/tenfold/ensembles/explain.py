"""The image wing: some rows as the members of an ensemble answer them, for a workbook that blends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tenfold.ensembles.networks import NetworkBlend, gather, mixed_answers, number_scale
from tenfold.errors import SchemaError
from tenfold.networks.rows import choose_rows, row_labels, rows_source
from tenfold.networks.run import ViewOptions
from tenfold.runs.options import Reading
from tenfold.targets.kinds import kind_of
from tenfold.workbooks.blend import BlendedTarget, ExplainedBlend
from tenfold.workbooks.rows import TargetRows

#: The file of a blend with its held-out rows.
OUT_OF_FOLD = "oof.parquet"


def explain_blend(
    blend: NetworkBlend,
    rows: Sequence[str] = (),
    *,
    table: Any = None,
    n: int = 12,
    reading: Reading | None = None,
    device: str = "auto",
) -> ExplainedBlend:
    """Every member's answers to some rows, their mean and its loss, for `workbooks.blend.build_blend_book`.

    Parameters and errors as of `networks.explain.explain_network`; telling rows are held-out ones of the
    blend.
    """
    reading = reading or Reading()
    source, reading, notes = rows_source(blend, OUT_OF_FOLD, blend.classes, table, reading)
    wanted = [str(one) for one in rows]
    index, why, said = choose_rows(blend, OUT_OF_FOLD, blend.classes, source, wanted, n, own=table is None)
    notes += said
    found = gather(blend, source.take(index), ViewOptions(None, None, None), reading, device, targets=False)
    good = np.array([row for row in range(len(found.rows.ids)) if row not in found.bad], dtype=np.int64)
    if not len(good):
        raise SchemaError("none of these rows can be read", fix="choose others, or mend their pictures")
    blended = []
    for kind in blend.kinds():
        # A blend's loss knows no class weights, and is told in units of its members' deviation.
        plain = {"yes_weights": (), "no_weights": (), "deviation": number_scale(blend, kind.name)}
        kind = kind_of(kind.target, kind.classes, kind.stats.model_copy(update=plain))
        labels, words, messages = row_labels(kind, found.rows, good)
        notes += messages
        own = found.answers[kind.name]
        parts = blend.weights[kind.name]
        answers = mixed_answers(blend, own, kind.name)[good]
        made = TargetRows(
            kind=kind,
            raw=answers,
            labels=labels,
            label_words=words,
            answers=kind.calibrated(answers),
            losses=kind.row_losses(answers, labels),
        )
        weights = np.array([parts.get(name, 0.0) for name in own])
        given = np.stack([answer[good] for answer in own.values()])
        blended.append(BlendedTarget(made, tuple(own), weights, given))
    if found.views:
        notes.append("answers of members are means of several views of a picture")
    return ExplainedBlend(
        run=str(blend.path),
        trained=_made_of(blend),
        ids=[str(one) for one in found.rows.ids[good]],
        why=[why[row] for row in good],
        blended=blended,
        notes=tuple(dict.fromkeys([*blend.about.get("joining", ()), *notes])),
    )


def _made_of(blend: NetworkBlend) -> list[str]:
    runs = sum(len(member.runs) for member in blend.members)
    return [
        f"an ensemble of {len(blend.members)} members, {runs} trained runs: {blend.schema.described}",
        "how a member itself comes to its answers: tenfold explain on its folder, in members/",
    ]
