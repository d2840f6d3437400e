"""What the columns are: the user's data, in words. Frozen, and TOML both ways."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from tenfold.errors import SchemaError, TenfoldError, did_you_mean
from tenfold.functions import function_name

#: Letters of a wrong value that a message shows.
LONGEST = 120


class Frozen(BaseModel):
    """A frozen value that refuses unknown names with the nearest known name.

    Subclasses name the error they raise in `refusal`, so that a wrong schema is a SchemaError and a
    wrong recipe a RecipeError, from Python, from TOML and from the command line alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    refusal: ClassVar[type[TenfoldError]] = SchemaError

    def __init__(self, /, **values: object) -> None:
        try:
            super().__init__(**values)
            self._check_switches(values)
        except ValidationError as error:
            raise self._refuse(error) from None

    @classmethod
    def _check_switches(cls, values: Mapping[str, object]) -> None:
        """Refuse true instead of a number: it would be 1."""
        for name, value in values.items():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None and "bool" not in str(field.annotation):
                raise cls.refusal(
                    f"{cls.__name__} cannot be made from these values",
                    problems=[f"{name}: {str(value).lower()} is not a number"],
                    fix="correct what is named; docs/formats.md lists what is allowed",
                )

    @classmethod
    def _refuse(cls, error: ValidationError) -> TenfoldError:
        problems, hint, missing = [], "", False
        for fault in error.errors(include_url=False):
            where = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                hint = did_you_mean(str(fault["loc"][-1]), cls.model_fields)
                problems.append(f"unknown name {where!r}; {hint}")
            elif fault["type"] == "union_tag_invalid":
                about = fault.get("ctx", {})
                kinds = [word.strip(" '") for word in about.get("expected_tags", "").split(",")]
                hint = did_you_mean(str(about.get("tag")), kinds)
                problems.append(f"{where}: there is no kind {about.get('tag')!r}; {hint}")
            elif fault["type"] == "missing":
                problems.append(f"{where} is not given")
                missing = True
            else:
                message = fault["msg"].removeprefix("Value error, ")
                # A fault of the value as a whole has no location, and its input is all of it.
                given = repr(fault["input"])
                given = given if len(given) <= LONGEST else f"{given[: LONGEST - 4]} ..."
                problems.append(f"{where} = {given}: {message}" if where else message)
        known = f"the names are: {', '.join(cls.model_fields)}"
        other = known if missing else "correct what is named; docs/formats.md lists what is allowed"
        return cls.refusal(
            f"{cls.__name__} cannot be made from these values", problems=problems, fix=hint or other
        )

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read TOML text."""
        return cls(**cls._parse(text))

    @classmethod
    def _parse(cls, text: str) -> dict[str, object]:
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise cls.refusal(
                f"this is not TOML: {error}", fix="see docs/formats.md for a complete example"
            ) from None

    def to_toml(self) -> str:
        """Return TOML text; `from_toml` gives the same value back."""
        return toml_text(self.model_dump(mode="json", exclude_none=True))


def toml_text(values: Mapping[str, object]) -> str:
    """Values as TOML."""
    return tomli_w.dumps(values)


def _check_classes(names: tuple[str, ...]) -> tuple[str, ...]:
    # Cells have no outer blanks, so classes have none; an empty class would mean a missing label.
    stripped = tuple(name.strip() for name in names)
    twice = sorted(name for name, times in Counter(stripped).items() if times > 1)
    if "" in stripped:
        raise ValueError("a class has a name; an empty cell means that the label is missing")
    if twice:
        raise ValueError(f"{', '.join(map(repr, twice))} is listed more than once")
    return stripped


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


Classes = Annotated[tuple[str, ...], AfterValidator(_check_classes)]


class OwnFunctions(Frozen):
    """What every target of a network may be given: a loss and a score of your own (docs/losses.md).

    loss: ``loss(outputs, labels)`` -> a loss of each row, instead of the kind's own; with tensors.
    metric: ``metric(answers, labels)`` -> a number, one more score of the held-out rows; with arrays.
    Both are functions that can be imported, and are kept by their names, ``module:function``.
    """

    loss: Annotated[str | None, BeforeValidator(function_name)] = None
    metric: Annotated[str | None, BeforeValidator(function_name)] = None


class CategoryTarget(OwnFunctions):
    """Exactly one of several classes: softmax cross-entropy from raw outputs.

    classes: the class list; taken from the whole table where it is not given.
    two: refuse a column that has more than two classes. Two classes have two outputs, as three have three:
        their softmax is the sigmoid of the difference (docs/losses.md).
    """

    kind: Literal["category"] = "category"
    name: str
    classes: Classes | None = None
    two: bool = False


class OpenTarget(OwnFunctions):
    """One of several classes, or none of them: a yes-or-no question to each class.

    none: the word for "none of these": rows with it belong to no class, and answers without a class are
        written so. Without it no row is known to belong to none, and such an answer is an empty cell.
    """

    kind: Literal["open"] = "open"
    name: str
    classes: Classes | None = None
    none: str = ""


class MultiLabelTarget(OwnFunctions):
    """Any number of classes at once (tags): a yes-or-no question to each class.

    separator: what stands between two tags of a cell; by default detected in the column.
    none: the word for "no tag". An empty cell is a missing label, as everywhere.
    columns: columns of 0 and 1, one for each class, instead of tags in a cell; an empty cell is not known.
    """

    kind: Literal["multilabel"] = "multilabel"
    name: str
    classes: Classes | None = None
    separator: str = ""
    none: str = ""
    columns: Classes = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.columns and (self.separator or self.none or self.classes):
            raise ValueError("columns of 0 and 1 name the classes; they have no separator, none or classes")
        return self


class NumberTarget(OwnFunctions):
    """A number: standardised by the training rows, and squared error.

    low, high: ends of the range; the answer is then a sigmoid stretched over it, and never outside it.
    stretch: how far the sigmoid reaches beyond both ends; half a step of the column's values where not given.
    """

    kind: Literal["number"] = "number"
    name: str
    low: float | None = None
    high: float | None = None
    stretch: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("a range has two ends: give low and high")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"the range goes from {self.low:g} to {self.high:g}: the lower end comes first")
        if self.stretch is not None and self.low is None:
            raise ValueError("stretch belongs to a range: give low and high")
        return self


class CountTarget(OwnFunctions):
    """How many: a whole number from 0 up, answered by its mean: Poisson deviance, with a log link."""

    kind: Literal["count"] = "count"
    name: str


class OrderedTarget(OwnFunctions):
    """One of several classes that have an order (grades, stages): is it higher, class by class.

    classes: from the lowest to the highest; may be left out where every class is a number.
    """

    kind: Literal["ordered"] = "ordered"
    name: str
    classes: Classes | None = None


class RatingTarget(Frozen):
    """What a user gave an item: stars, or mere events.

    name: the column; None where the table is a log of events without a rating.
    """

    kind: Literal["rating"] = "rating"
    name: str | None = None


class UndecidedTarget(Frozen):
    """A target without a kind: settled from the whole column, and printed, before training."""

    kind: Literal["undecided"] = "undecided"
    name: str


InputColumn = Annotated[ImageColumn | IdColumn | CategoryColumn | NumberColumn, Field(discriminator="kind")]
#: Targets of a network.
NetworkTarget = CategoryTarget | OpenTarget | MultiLabelTarget | NumberTarget | CountTarget | OrderedTarget
Target = Annotated[NetworkTarget | RatingTarget | UndecidedTarget, Field(discriminator="kind")]


@dataclass(frozen=True)
class TargetWord:
    """A word after the colon of ``--target COL:KIND``, and what may stand in brackets behind it.

    positional: names of the values without a name, in order; the last takes all that are left where it ends
    in ``...``.  always: values that the word implies.
    """

    model: type[NetworkTarget]
    positional: tuple[str, ...] = ()
    always: Mapping[str, object] = field(default_factory=dict)


TARGET_KINDS: Mapping[str, TargetWord] = {
    "category": TargetWord(CategoryTarget, ("classes...",)),
    "two-class": TargetWord(CategoryTarget, ("classes...",), {"two": True}),
    "open": TargetWord(OpenTarget, ("classes...",)),
    "multilabel": TargetWord(MultiLabelTarget, ("separator",)),
    "number": TargetWord(NumberTarget, ("low", "high")),
    "count": TargetWord(CountTarget),
    "ordered": TargetWord(OrderedTarget, ("classes...",)),
}
#: Other spellings of these words.
_SAME_WORD = {
    "binary": "two-class",
    "twoclass": "two-class",
    "two_class": "two-class",
    "multi-label": "multilabel",
    "multi_label": "multilabel",
    "ordinal": "ordered",
}


def _read_targets(values: object) -> object:
    if not isinstance(values, (list, tuple)):
        return values
    return tuple(parse_target(value) if isinstance(value, str) else value for value in values)


class Schema(Frozen):
    """Input columns and target columns of one table. A target may also be the text of ``--target``.

    id: column that names a row in the predictions; the first image column where it is not given.
    group: columns; rows that share a value are never on both sides of a split.
    split: column of 0/1 (or true/false) that marks validation rows, instead of a random split.
    weight: column of row weights.

    For ratings, `inputs` are two id columns, the user's and then the item's, and further:

    time: column of the moment of a rating, or of a row: the later ones are held out.
    time_format: its format, as in `data.times.read_times`; detected where not given.
    user_table, item_table: files with a row per user or item; their key is the id column's name or
        their first column.  item_name: column of the item table with the titles.
    side: columns of these tables that describe users or items.
    """

    inputs: tuple[InputColumn, ...]
    targets: Annotated[tuple[Target, ...], BeforeValidator(_read_targets)]
    id: str | None = None
    group: tuple[str, ...] = ()
    split: str | None = None
    weight: str | None = None
    time: str | None = None
    time_format: str | None = None
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
    def columns(self) -> tuple[IdColumn | CategoryColumn | NumberColumn, ...]:
        """The input columns of the table itself: all but pictures."""
        return tuple(column for column in self.inputs if not isinstance(column, ImageColumn))

    @property
    def rated(self) -> bool:
        """Whether it describes ratings: id columns, and a target that is a rating."""
        return bool(self.ids) and any(isinstance(target, RatingTarget) for target in self.targets)

    @property
    def answers(self) -> tuple[NetworkTarget, ...]:
        """The targets of a network, once every target's kind is settled."""
        return tuple(target for target in self.targets if isinstance(target, NetworkTarget))

    @property
    def described(self) -> str:
        """Its columns and their kinds in one line: ``photo (image), age (number) -> disease (category)``."""
        sides = (self.inputs, self.targets)
        inputs, targets = (", ".join(f"{column.name} ({column.kind})" for column in side) for side in sides)
        return f"{inputs} -> {targets}"

    @property
    def row_name(self) -> str | None:
        """The column that names a row, if there is one."""
        return self.id or (self.images[0].name if self.images else None)

    def check_uses(self) -> None:
        """Refuse uses of columns that a training of this kind would ignore."""
        foreign = (
            ("group", "split", "weight") if self.rated else ("user_table", "item_table", "item_name", "side")
        )
        ignored = [name for name in foreign if getattr(self, name)]
        if ignored:
            what = "ratings" if self.rated else "a network that learns from no ratings"
            raise SchemaError(
                f"{', '.join(ignored)}: the schema of {what} has no such use of a column", fix="leave it out"
            )

    def check_columns(self, names: tuple[str, ...], source: str, *, targets: bool = True) -> None:
        """Refuse a table that lacks a column, and name the nearest column it has.

        targets: also ask for the target columns, the groups, the split and the weight.
        """
        wanted = [(column.name, "input") for column in self.inputs]
        uses: list[tuple[str | None, str]] = [(self.id, "id")]
        if targets:
            wanted += [(name, "target") for target in self.targets for name in target_columns(target)]
            wanted += [(name, "group") for name in self.group]
            uses[:0] = [
                (self.split, "split"),
                (self.weight, "weight"),
                (None if self.ids else self.time, "time"),
            ]
        wanted += [(name, use) for name, use in uses if name]
        there = {_one_form(name) for name in names}
        for name, use in wanted:
            if _one_form(name) not in there:
                raise SchemaError(
                    f"{source} has no column {name!r} ({use})",
                    found=", ".join(names),
                    fix=did_you_mean(name, names),
                )
        used = {column.name for column in self.inputs} | {self.id}
        both = [name for target in self.targets for name in target_columns(target) if name in used]
        once = Counter(name for name, use in wanted if use in ("input", "target"))
        twice = sorted(name for name, times in once.items() if times > 1)
        if both or twice:
            name = (both + twice)[0]
            raise SchemaError(
                f"column {name!r} is used twice",
                found=", ".join(f"{column} ({use})" for column, use in wanted),
                fix="a column is either an input or a target",
            )


def _one_form(name: str) -> str:
    """Return a column's name without outer blanks, in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", name.strip())


def target_columns(target: Target) -> tuple[str, ...]:
    """Return the table's columns that a target is read from."""
    if isinstance(target, MultiLabelTarget) and target.columns:
        return target.columns
    return (target.name,) if target.name is not None else ()


#: A target's text: its columns, and perhaps a kind, and perhaps something in brackets.
_TARGET = re.compile(r"(?P<name>.*):(?P<kind>[^:\[\]]*)(?:\[(?P<inside>.*)\])?\s*", re.DOTALL)


def parse_target(text: str) -> NetworkTarget | UndecidedTarget:
    """``COL``, ``COL:KIND`` or ``COL:KIND[VALUE,NAME=VALUE,...]`` -> a target (docs/losses.md).

    ``ONE,TWO,THREE:multilabel`` reads three columns of 0 and 1 as one target with this list as its name; with
    ``NAME=ONE,TWO,THREE:multilabel`` it has a name of its own. Where the own name of a column ends in a colon
    and a word that is not a kind, it is refused with the list of kinds.
    """
    match = _TARGET.fullmatch(text)
    if match is None:
        return UndecidedTarget(name=text.strip())
    given = match["kind"].strip()
    kind = _SAME_WORD.get(given.lower(), given.lower())
    if kind not in TARGET_KINDS:
        fix = did_you_mean(given, TARGET_KINDS)
        if not fix.startswith("did you mean"):
            fix += f"; if the column itself is called {text.strip()!r}, say its kind: {text.strip()}:category"
        raise SchemaError(f"target {text!r}: there is no kind {given!r}", fix=fix)
    word, name = TARGET_KINDS[kind], match["name"].strip()
    values: dict[str, object] = {"name": name, **word.always, **_inside(text, word, match["inside"] or "")}
    if word.model is MultiLabelTarget and "," in name:
        group, equals, columns = name.partition("=")
        values["columns"] = tuple(column.strip() for column in (columns if equals else name).split(","))
        values["name"] = group.strip() if equals else name
    return word.model.model_validate(values)


def parse_targets(
    texts: Sequence[str], *, separator: str | None = None, types: Sequence[str] = ()
) -> tuple[NetworkTarget | UndecidedTarget, ...]:
    """Several texts of ``--target``.

    separator: between the tags of every multilabel target without its own.
    types: kinds of targets without a kind: ``KIND`` where there is a single such target, or ``COL=KIND``.
    """
    targets = [parse_target(text) for text in texts]
    for text in types:
        name, equals, kind = text.partition("=")
        undecided = [index for index, target in enumerate(targets) if isinstance(target, UndecidedTarget)]
        if equals and name.strip() in {targets[index].name for index in undecided}:
            chosen = [index for index in undecided if targets[index].name == name.strip()]
        elif len(undecided) == 1:
            chosen, kind = undecided, text
        else:
            raise SchemaError(
                f"--target-type {text!r} does not say of which target",
                targets=", ".join(targets[index].name for index in undecided) or "no target without a kind",
                fix="write COLUMN=KIND, or --target COLUMN:KIND",
            )
        for index in chosen:
            targets[index] = parse_target(f"{targets[index].name}:{kind.strip()}")
    if separator:
        tagged = [target for target in targets if isinstance(target, MultiLabelTarget) and not target.columns]
        if not tagged:
            raise SchemaError("--label-separator belongs to a multilabel target", fix="leave it out")
        targets = [
            target.model_copy(update={"separator": target.separator or separator})
            if target in tagged
            else target
            for target in targets
        ]
    return tuple(targets)


def _inside(text: str, word: TargetWord, inside: str) -> dict[str, object]:
    """Return the values in brackets by name: ``1,5`` of a number is low and high."""
    if word.model is MultiLabelTarget and inside.strip() in ("", ","):
        return {"separator": inside or ""}
    fields = [name for name in word.model.model_fields if name not in ("kind", "name")]
    left, values = list(word.positional), dict[str, object]()
    rest: list[str] = []
    # Grades may be written low<middle<high, as they are meant.
    for part in inside.replace("<", ",").split(",") if inside.strip() else ():
        name, equals, value = part.partition("=")
        if equals and name.strip() in fields:
            values[name.strip()] = value if name.strip() == "separator" else value.strip()
        elif equals and not any(slot.endswith("...") for slot in left):
            raise SchemaError(
                f"target {text!r}: {name.strip()!r} is not an option of its kind",
                fix=did_you_mean(name.strip(), fields),
            )
        elif left and left[0].endswith("..."):
            rest.append(part)
            values[left[0].removesuffix("...")] = rest
        elif left:
            values[left.pop(0)] = part if part.isspace() else part.strip()
        else:
            raise SchemaError(
                f"target {text!r}: {part.strip()!r} is one value too many",
                fix=f"its kind takes {', '.join(word.positional) or 'none'}",
            )
    return values


def parse_image(text: str) -> ImageColumn:
    """Parse ``COL=DIR`` to an image column."""
    name, equals, folder = text.partition("=")
    if not equals or not name.strip() or not folder.strip():
        raise SchemaError(
            f"--image {text!r} is not COLUMN=FOLDER", fix="write for example --image image_id=photos"
        )
    return ImageColumn(name=name.strip(), folder=folder.strip())
