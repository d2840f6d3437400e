"""The members' answers to some rows, for a workbook that blends them."""

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

#: The file with the held-out rows of a blend.
OUT_OF_FOLD = "oof.parquet"


def explain_blend(
    blend: JoinedNetworks, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS
) -> ExplainedBlend:
    """Return every member's answers to some rows, their mean and its loss.

    Parameters and errors as of `networks.explain.explain_network`; representative rows are held-out rows of
    the blend. See `workbooks.blend.build_blend_book`.
    """
    classes, own_table = blend.classes, options.table is None
    source, reading, notes = rows_source(blend, OUT_OF_FOLD, classes, options.table, options.reading)
    wanted = [str(row) for row in rows]
    index, why, messages = choose_rows(blend, OUT_OF_FOLD, classes, source, wanted, options.n, own=own_table)
    notes += messages
    asked = PredictOptions(reading=reading, device=options.device)
    gathered = gather(blend, source.take(index), asked, targets=False)
    good = gathered.good
    if not len(good):
        raise SchemaError("none of these rows can be read", fix="choose others, or mend their pictures")
    blended = []
    for kind in ensemble_kinds(blend):
        # The loss of a blend has no class weights, and its unit is the members' deviation.
        plain = {"yes_weights": (), "no_weights": (), "deviation": number_scale(blend, kind.name)}
        kind = kind_of(kind.target, kind.classes, kind.stats.model_copy(update=plain))
        labels, words, messages = row_labels(kind, gathered.rows, good)
        notes += messages
        own = gathered.answers[kind.name]
        answers = mixed_answers(blend, own, kind.name)[good]
        made = TargetRows(
            kind=kind,
            raw=answers,
            labels=labels,
            label_words=words,
            answers=kind.calibrated(answers),
            losses=kind.row_losses(answers, labels),
        )
        weights = np.array([blend.weights[kind.name].get(name, 0.0) for name in own])
        given = np.stack([answer[good] for answer in own.values()])
        blended.append(BlendedTarget(made, tuple(own), weights, given))
    if gathered.views:
        notes.append("answers of members are means of several views of a picture")
    runs = sum(len(member.runs) for member in blend.members)
    return ExplainedBlend(
        run=str(blend.path),
        trained=[
            f"an ensemble of {len(blend.members)} members, {runs} trained runs: {blend.schema.described}",
            "how a member itself comes to its answers: tenfold explain on its folder, in members/",
        ],
        ids=[str(name) for name in gathered.rows.ids[good]],
        why=[why[row] for row in good],
        blended=blended,
        notes=tuple(dict.fromkeys([*blend.notes, *notes])),
    )
