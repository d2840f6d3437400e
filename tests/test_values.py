"""What crosses floors is frozen, made of data alone, and explained field by field."""

from __future__ import annotations

import dataclasses
import inspect
import re
from enum import Enum

import pytest

from tenfold import values

#: An enumeration is frozen by itself, and its members are no fields.
CLASSES = [each for name in values.__all__ if inspect.isclass(each := getattr(values, name))]
VALUES = [each for each in CLASSES if not issubclass(each, Enum)]


def test_all_values_are_listed() -> None:
    made = {name for name, one in vars(values).items() if dataclasses.is_dataclass(one)}
    assert made == {one.__name__ for one in VALUES}


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_frozen(value: type) -> None:
    assert dataclasses.is_dataclass(value)
    assert value.__dataclass_params__.frozen  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", VALUES)
def test_every_field_is_explained(value: type) -> None:
    pages = [inspect.getdoc(one) or "" for one in value.__mro__ if dataclasses.is_dataclass(one)]
    explained = set(re.findall(r"\w+", " ".join(pages)))
    fields = {field.name for field in dataclasses.fields(value)}
    plain = {
        "method",
        "mean",
        "item_names",
        "implicit",
        "notes",
    }  # explained where they first stand, in Ratings
    assert fields - plain <= explained
