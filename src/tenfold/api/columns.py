"""Which columns of a table are what, from a few words."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.errors import SchemaError
from tenfold.schema import (
    CategoryColumn,
    IdColumn,
    ImageColumn,
    NumberColumn,
    RatingTarget,
    Schema,
    Target,
    parse_image,
    parse_targets,
)

#: A name, or several.
Names = str | Sequence[str] | None
#: ``COLUMN=FOLDER``, several of them, or column -> folder.
Images = str | Sequence[str] | Mapping[str, str | os.PathLike[str]] | None
#: A target as ``--target`` takes it, or as a value; or several.
Targets = str | Target | Sequence[str | Target] | None


@dataclass(frozen=True)
class ColumnWords:
    """What the columns of a table are, as keywords of `api.fitting.fit` say it."""

    image: Images = None
    category: Names = None
    number: Names = None
    target: Targets = None
    user: str | None = None
    item: str | None = None
    id: str | None = None
    group: Names = None
    split: str | None = None
    weight: str | None = None
    time: str | None = None
    user_table: str | None = None
    item_table: str | None = None
    item_name: str | None = None
    side: Names = None

    @property
    def given(self) -> list[str]:
        """The names of those that are given."""
        return [name for name, value in vars(self).items() if value is not None]

    def schema(self) -> Schema:
        """The schema that they describe. Raises SchemaError where inputs or targets are missing."""
        cells = (
            *(CategoryColumn(name=name) for name in listed_names(self.category)),
            *(NumberColumn(name=name) for name in listed_names(self.number)),
        )
        targets = self.target
        wanted: list[str | Target]
        if targets is None:
            wanted = []
        elif isinstance(targets, str) or not isinstance(targets, Sequence):
            wanted = [targets]
        else:
            wanted = list(targets)
        uses: dict[str, Any] = {name: getattr(self, name) for name in ("id", "split", "weight", "time")}
        uses |= {name: getattr(self, name) for name in ("user_table", "item_table", "item_name")}
        uses |= {name: listed_names(getattr(self, name)) for name in ("group", "side")}
        if self.user is not None or self.item is not None:
            return self._of_ratings(cells, wanted, uses)
        images = _images(self.image)
        if not (images or cells):
            raise SchemaError(
                "the inputs are not given",
                found=", ".join(f"{name}={getattr(self, name)!r}" for name in self.given),
                fix="give image={'COLUMN': 'FOLDER'}, category=[...] or number=[...]; or user= and item=",
            )
        if not wanted:
            raise SchemaError("the target is not given", fix="give target='COLUMN', or several in a list")
        texts = [target for target in wanted if isinstance(target, str)]
        parsed = iter(parse_targets(texts))
        made = tuple(next(parsed) if isinstance(target, str) else target for target in wanted)
        return Schema(inputs=(*images, *cells), targets=made, **uses)

    def _of_ratings(
        self,
        cells: tuple[CategoryColumn | NumberColumn, ...],
        targets: Sequence[str | Target],
        uses: Mapping[str, Any],
    ) -> Schema:
        if self.user is None or self.item is None:
            lacking = "item" if self.item is None else "user"
            raise SchemaError(
                f"ratings have users and items, and {lacking} is not given", fix=f"give {lacking}="
            )
        if len(targets) > 1:
            raise SchemaError("ratings have one target", fix="give target='COLUMN', or none for events")
        if _images(self.image):
            raise SchemaError("ratings have no pictures", fix="leave out image=")
        target = targets[0] if targets else None
        rating = RatingTarget(name=target) if target is None or isinstance(target, str) else target
        inputs = (IdColumn(name=self.user), IdColumn(name=self.item), *cells)
        return Schema(inputs=inputs, targets=(rating,), **uses)


def listed_names(names: Names) -> tuple[str, ...]:
    """A name, or several, as a tuple."""
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)


def _images(images: Images) -> tuple[ImageColumn, ...]:
    if isinstance(images, Mapping):
        return tuple(ImageColumn(name=name, folder=os.fspath(folder)) for name, folder in images.items())
    return tuple(parse_image(text) for text in listed_names(images))
