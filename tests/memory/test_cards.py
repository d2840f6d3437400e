"""Budgets in words, and what is known of cards."""

from __future__ import annotations

import pytest

from tenfold.errors import RecipeError
from tenfold.memory.cards import CARDS, GIB, find_card, parse_bytes, show_bytes, store_context, stored_context


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16GiB", 16 * GIB),
        ("16 gib", 16 * GIB),
        ("16Gi", 16 * GIB),
        ("15.5 GB", 15_500_000_000),
        ("15.5g", 15_500_000_000),
        (" 800 MB ", 800_000_000),
        ("800MiB", 800 << 20),
        ("0.5TiB", GIB * 512),
        ("2000000000", 2_000_000_000),
        (17179869184, 16 * GIB),
    ],
)
def test_sizes_are_read_with_their_units(text: str | int, size: int) -> None:
    assert parse_bytes(text).size_bytes == size


@pytest.mark.parametrize(
    "text", ["16 elephants", "", "GiB", "-4GiB", "nan", "1e3GB", "16", "16 i", True, 0.5, "0GiB"]
)
def test_what_is_no_budget_is_refused_with_what_can_be_said(text: object) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_bytes(text)  # type: ignore[arg-type]
    assert "16GiB" in str(caught.value)


def test_a_card_with_a_slip_of_the_pen_is_guessed() -> None:
    with pytest.raises(RecipeError, match=r"did you mean 'RTX 3090'"):
        parse_bytes("RTX 309O")


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("t4", "T4"),
        ("Tesla T4", "T4"),
        ("rtx3090", "RTX 3090"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("P100 16GB", "P100"),
        ("Tesla P100-PCIE-16GB", "P100"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("Tesla V100-SXM2-32GB", "V100-32GB"),
        ("L4", "L4"),
    ],
)
def test_cards_are_known_as_people_and_drivers_spell_them(spelled: str, name: str) -> None:
    card = find_card(spelled)
    assert card is not None and card.name == name
    budget = parse_bytes(spelled)
    assert (budget.card, budget.size_bytes) == (card, card.usable_bytes)


def test_no_card_has_more_to_use_than_is_sold() -> None:
    for card in CARDS:
        assert 0.85 * card.size_gb * GIB < card.usable_bytes <= card.size_gb * GIB, card.name
        assert find_card(card.name) is card


def test_auto_is_what_is_free_less_a_margin() -> None:
    budget = parse_bytes("auto")
    assert budget.size_bytes > 0 and "less a twentieth" in budget.said


def test_a_calibration_is_kept_and_a_damaged_one_is_as_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    assert stored_context("T4") is None
    path = store_context("T4", 123 << 20)
    store_context("cpu", 1)
    assert stored_context("T4") == 123 << 20
    path.write_text("[", encoding="utf-8")
    assert stored_context("T4") is None


def test_bytes_are_shown_in_one_unit() -> None:
    assert [show_bytes(size) for size in (9.8 * GIB, 512 << 20)] == ["9.8 GiB", "512 MiB"]
