"""What the columns are: the user's data, in words. Frozen, and TOML both ways."""

from __future__ import annotations

import tomllib
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tenfold.errors import SchemaError, TenfoldError, did_you_mean


class Frozen(BaseModel):
    """A frozen value that refuses unknown names with the nearest known one.

    Subclasses name the error they raise in `refusal`, so that a wrong schema is a SchemaError and a
    wrong recipe a RecipeError, from Python, from TOML and from the command line alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    refusal: ClassVar[type[TenfoldError]] = SchemaError

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise self._refuse(error) from None

    @classmethod
    def _refuse(cls, error: ValidationError) -> TenfoldError:
        problems, hint = [], ""
        for fault in error.errors(include_url=False):
            where = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                hint = did_you_mean(str(fault["loc"][-1]), cls.model_fields)
                problems.append(f"unknown name {where!r}; {hint}")
            elif fault["type"] == "missing":
                problems.append(f"{where} is not given")
            else:
                message = fault["msg"].removeprefix("Value error, ")
                problems.append(f"{where} = {fault['input']!r}: {message}")
        known = f"the names are: {', '.join(cls.model_fields)}"
        return cls.refusal(
            f"{cls.__name__} cannot be made from these values", problems=problems, fix=hint or known
        )

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read from TOML text."""
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise cls.refusal(
                f"this is not TOML: {error}", fix="see docs/formats.md for a complete example"
            ) from None
        return cls(**values)

    def to_toml(self) -> str:
        """Write as TOML text; `from_toml` gives the same value back."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _check_classes(names: tuple[str, ...]) -> tuple[str, ...]:
    # Cells have no outer blanks, so neither has a class; one that is empty would mean a missing label.
    found = tuple(name.strip() for name in names)
    twice = sorted(name for name, times in Counter(found).items() if times > 1)
    if "" in found:
        raise ValueError("a class has a name; an empty cell means that the label is missing")
    if twice:
        raise ValueError(f"{', '.join(map(repr, twice))} is listed more than once")
    return found


class ImageColumn(Frozen):
    """A column that names pictures.

    folder: where the pictures are; a relative name is taken from the current folder.
    """

    kind: Literal["image"] = "image"
    name: str
    folder: str


class IdColumn(Frozen):
    """A column of ids (users, items): text, whatever it looks like."""

    kind: Literal["id"] = "id"
    name: str


class CategoryColumn(Frozen):
    """A column of categories; what training never saw goes to the unknown row of its embedding."""

    kind: Literal["category"] = "category"
    name: str


class NumberColumn(Frozen):
    """A column of numbers, standardised by the training rows; missing cells get a mark of their own."""

    kind: Literal["number"] = "number"
    name: str


class CategoryTarget(Frozen):
    """One of several classes: softmax cross-entropy from raw outputs.

    classes: the class list; taken from the whole table where it is not given.
    """

    kind: Literal["category"] = "category"
    name: str
    classes: Annotated[tuple[str, ...], AfterValidator(_check_classes)] | None = None


class RatingTarget(Frozen):
    """What a user gave an item: stars, or events that only say that there was one.

    name: the column; None where the table is a log of events without a rating.
    """

    kind: Literal["rating"] = "rating"
    name: str | None = None


class UndecidedTarget(Frozen):
    """A target whose kind was not said: settled from the whole column, and printed, before training."""

    kind: Literal["undecided"] = "undecided"
    name: str


InputColumn = Annotated[ImageColumn | IdColumn | CategoryColumn | NumberColumn, Field(discriminator="kind")]
Target = Annotated[CategoryTarget | RatingTarget | UndecidedTarget, Field(discriminator="kind")]

#: Words accepted after the colon of ``--target COL:KIND``.
TARGET_KINDS: Mapping[str, type[CategoryTarget]] = {"category": CategoryTarget}


class Schema(Frozen):
    """Input columns and target columns of one table.

    id: column that names a row in the predictions; the first image column where it is not given.
    group: columns whose equal values never stand on both sides of a split.
    split: column of 0/1 (or true/false) that marks validation rows, instead of a random split.
    weight: column of row weights.

    For ratings, `inputs` are two id columns, the user's and then the item's, and further:

    time: column of the moment of a rating.
    user_table, item_table: files with one row per user or item, whose key is the id column's name or
        their first column.  item_name: column of the item table that names an item to people.
    side: columns of these tables that describe users or items.
    """

    inputs: tuple[InputColumn, ...]
    targets: tuple[Target, ...]
    id: str | None = None
    group: tuple[str, ...] = ()
    split: str | None = None
    weight: str | None = None
    time: str | None = None
    user_table: str | None = None
    item_table: str | None = None
    item_name: str | None = None
    side: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[IdColumn, ...]:
        """The id columns among the inputs."""
        return tuple(column for column in self.inputs if isinstance(column, IdColumn))

    @property
    def images(self) -> tuple[ImageColumn, ...]:
        """The image columns among the inputs."""
        return tuple(column for column in self.inputs if isinstance(column, ImageColumn))

    @property
    def categories(self) -> tuple[CategoryTarget, ...]:
        """The category targets, once every target's kind is settled."""
        return tuple(target for target in self.targets if isinstance(target, CategoryTarget))

    @property
    def row_name(self) -> str | None:
        """The column that names a row, if there is one."""
        return self.id or (self.images[0].name if self.images else None)

    def check_columns(self, names: tuple[str, ...], source: str, *, targets: bool = True) -> None:
        """Refuse a table that lacks a column, naming the nearest one it has.

        targets: also ask for the target columns, the groups, the split and the weight.
        """
        wanted = [(column.name, "input") for column in self.inputs]
        if targets:
            wanted += [(target.name, "target") for target in self.targets if target.name is not None]
            wanted += [(name, "group") for name in self.group]
            wanted += [(name, "split") for name in (self.split,) if name]
            wanted += [(name, "weight") for name in (self.weight,) if name]
        if self.id:
            wanted.append((self.id, "id"))
        there = {_one_form(name) for name in names}
        for name, use in wanted:
            if _one_form(name) not in there:
                raise SchemaError(
                    f"{source} has no column {name!r} ({use})",
                    found=", ".join(names),
                    fix=did_you_mean(name, names),
                )
        used = {column.name for column in self.inputs} | {self.id}
        both = [target.name for target in self.targets if target.name is not None and target.name in used]
        once = Counter(name for name, use in wanted if use in ("input", "target"))
        twice = sorted(name for name, times in once.items() if times > 1)
        if both or twice:
            name = (both + twice)[0]
            raise SchemaError(
                f"column {name!r} is used twice",
                found=", ".join(f"{one} ({use})" for one, use in wanted),
                fix="a column is either one input or one target",
            )


def _one_form(name: str) -> str:
    """A column's name without outer blanks and in one of the forms that Unicode has for its accents."""
    return unicodedata.normalize("NFC", name.strip())


def parse_target(text: str) -> CategoryTarget | UndecidedTarget:
    """``COL`` or ``COL:KIND`` -> a target. A column whose own name ends in a colon and a word that
    is no kind is refused with the kinds there are."""
    name, colon, kind = text.rpartition(":")
    if not colon:
        return UndecidedTarget(name=text.strip())
    if kind.strip() not in TARGET_KINDS:
        raise SchemaError(f"target {text!r}: there is no kind {kind!r}", fix=did_you_mean(kind, TARGET_KINDS))
    return TARGET_KINDS[kind.strip()](name=name.strip())


def parse_image(text: str) -> ImageColumn:
    """``COL=DIR`` -> an image column."""
    name, equals, folder = text.partition("=")
    if not equals or not name.strip() or not folder.strip():
        raise SchemaError(
            f"--image {text!r} is not COLUMN=FOLDER", fix="write for example --image image_id=photos"
        )
    return ImageColumn(name=name.strip(), folder=folder.strip())
