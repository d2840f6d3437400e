"""Options of reading and of the machine are refused where they are not possible."""

from __future__ import annotations

import pytest

from tenfold.errors import RecipeError
from tenfold.runs.options import Machine, PredictOptions, Reading


@pytest.mark.parametrize("options", [{"workers": -1}, {"max_pixels": 0}])
def test_a_reading_that_is_not_possible_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match=next(iter(options))):
        Reading(**options)  # type: ignore[arg-type]


def test_no_rows_at_once_are_refused() -> None:
    with pytest.raises(RecipeError, match="micro_batch = 0"):
        Machine(micro_batch=0)


def test_what_a_run_is_asked_reads_as_the_run_does_by_default() -> None:
    assert PredictOptions().reading == Reading()
