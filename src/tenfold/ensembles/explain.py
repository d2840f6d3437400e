"""Some rows as the members of an ensemble answer them, for a workbook that blends them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tenfold.ensembles.joined import JoinedNetworks, number_scale
from tenfold.ensembles.predict import ensemble_kinds, gather, mixed_answers
from tenfold.errors import SchemaError
from tenfold.networks.rows import choose_rows, row_labels, rows_source
from tenfold.runs.options import SOME_ROWS, ExplainOptions, PredictOptions
from tenfold.targets.kinds import kind_of
from tenfold.workbooks.blend import BlendedTarget, ExplainedBlend
from tenfold.workbooks.rows import TargetRows

#: The file of a blend with its held-out rows.
OUT_OF_FOLD = "oof.parquet"


def explain_blend(
    blend: JoinedNetworks, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS
) -> ExplainedBlend:
    """Every member's answers to some rows, their mean and its loss, for `workbooks.blend.build_blend_book`.

    Parameters and errors as of `networks.explain.explain_network`; representative rows are held-out ones of
    the blend.
    """
    classes, own_table = blend.classes, options.table is None
    source, reading, notes = rows_source(blend, OUT_OF_FOLD, classes, options.table, options.reading)
    wanted = [str(row) for row in rows]
    index, why, said = choose_rows(blend, OUT_OF_FOLD, classes, source, wanted, options.n, own=own_table)
    notes += said
    asked = PredictOptions(reading=reading, device=options.device)
    found = gather(blend, source.take(index), asked, targets=False)
    good = np.array([row for row in range(len(found.rows.ids)) if row not in found.bad], dtype=np.int64)
    if not len(good):
        raise SchemaError("none of these rows can be read", fix="choose others, or mend their pictures")
    blended = []
    for kind in ensemble_kinds(blend):
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
        notes=tuple(dict.fromkeys([*blend.notes, *notes])),
    )


def _made_of(blend: JoinedNetworks) -> list[str]:
    runs = sum(len(member.runs) for member in blend.members)
    return [
        f"an ensemble of {len(blend.members)} members, {runs} trained runs: {blend.schema.described}",
        "how a member itself comes to its answers: tenfold explain on its folder, in members/",
    ]
