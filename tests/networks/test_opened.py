"""What is known of a finished network is what its files say."""

from __future__ import annotations

from shown import trained
from tenfold.networks.opened import OpenedNetwork


def test_the_files_say_what_the_run_knows() -> None:
    _, run = trained()
    opened = OpenedNetwork.open(run.path, run.record)
    assert (opened.schema, opened.recipe, opened.encoding) == (run.schema, run.recipe, run.encoding)
