"""Advice of a command names what the command has."""

from __future__ import annotations

import pytest

import tenfold.cli.main  # noqa: F401 - the commands register themselves
from tenfold.cli.commands import offer_of
from tenfold.remedies import advice, offering, withhold


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        # One of several ways: the others stay.
        ("predict", "mend these rows, or leave them out with --skip-bad", None),
        ("similar", "mend these rows, or leave them out with --skip-bad", "mend these rows"),
        ("evaluate", "explicit: y holds ratings (--kind implicit for events)", "explicit: y holds ratings"),
        ("inspect", "a.png lies outside photos; allow with --allow-outside", "a.png lies outside photos"),
        # The only way: whose it is.
        ("report", "give --valid 0.1", "give --valid 0.1 (--valid is an option of tenfold fit)"),
        ("tune", "go on with it: tenfold fit ... --resume", None),
        # What is no option of anybody may be a name.
        ("predict", "has no column '--odd'", None),
    ],
)  # fmt: skip
def test_what_is_left_of_an_advice(command: str, text: str, said: str | None) -> None:
    with offering(offer_of(command)):
        assert advice(text) == (said or text)
        assert advice(f"no\n  fix    {text}") == f"no\n  fix    {said or text}"
    assert advice(text) == text  # from Python


def test_what_the_data_refuse_is_not_advised() -> None:
    text = "  fix    give --time-format iso or a pattern, or leave times out: --time none"
    with offering(offer_of("fit")):
        assert advice(text) == text
        withhold(["time_format"])
        assert advice(text) == "  fix    leave times out: --time none"
        withhold(["lr"], file="in top.toml")
        assert advice("  fix    a lower --lr") == "  fix    a lower lr (in top.toml)"
        withhold(["valid"])
        assert (
            advice("  fix    give --valid")
            == "  fix    give --valid (--valid is not an option of these data)"
        )
