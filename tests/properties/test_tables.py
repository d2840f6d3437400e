"""Tables that nobody thought of: written in any form they are read back, and give the same run."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tenfold
from tenfold.data.tables.jobfile import read_job
from tenfold.errors import RecipeError, TenfoldError
from tenfold.files.submission import write_submission
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.runs.folder import read_arrays
from tenfold.schema import (
    CategoryColumn,
    CategoryTarget,
    IdColumn,
    MultiLabelTarget,
    NumberColumn,
    NumberTarget,
    RatingTarget,
    Schema,
)
from tenfold.values import Predictions, TargetPrediction

quick = settings(
    deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)

LETTERS = st.sampled_from("abcxyzÀéßñŁЖ猫")
NAME = st.text(LETTERS, min_size=1, max_size=6)
CELL = st.one_of(
    st.text(st.sampled_from("abÉ猫 019.,;:|#'=+-_/\\"), max_size=8),
    st.sampled_from(
        ["007", "7", "1.0", "1", "NA", "nan", "None", "-0", "1e5", "9007199254740993", "true", "٣"]
    ),
    st.integers(-(10**15), 10**15).map(str),
)
QUOTED = st.text(st.sampled_from('ab"\n,;'), max_size=6)


@st.composite
def tables(draw: st.DrawFn, cell: st.SearchStrategy[str] = CELL) -> dict[str, list[str]]:
    """Two to four columns of one to eight cells."""
    names = draw(st.lists(NAME, min_size=2, max_size=4, unique_by=str.casefold))
    rows = draw(st.integers(1, 8))
    return {name: [draw(cell).strip() for _ in range(rows)] for name in names}


def rows_of(table: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """The rows that hold something and do not name the columns again: what a reader gives back."""
    head = [name.casefold() for name in table]
    found = list(zip(*table.values(), strict=True))
    return [row for row in found if any(row) and [one.casefold() for one in row] != head]


def written(table: dict[str, list[str]], separator: str, ending: str, quoting: int) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=separator, lineterminator=ending, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([list(table), *zip(*table.values(), strict=True)])
    return stream.getvalue()


def cells(table: Any) -> list[tuple[str, ...]]:
    return list(zip(*(table.text(name).tolist() for name in table.names), strict=True))


@quick
@given(
    tables(st.one_of(CELL, QUOTED)),
    st.sampled_from([",", ";"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.booleans(),
)
@pytest.mark.metamorphic(
    "a table in another dialect (separator, quotes, line ends, encoding, gzip) has the same cells"
)
def test_a_table_in_any_dialect(
    table: dict[str, list[str]], separator: str, ending: str, quoting: int, encoding: str, packed: bool
) -> None:
    table = {name: [one.strip() for one in column] for name, column in table.items()}
    wanted = rows_of(table)
    assume(wanted)
    data = written(table, separator, ending, quoting).encode(encoding)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("t.csv.gz" if packed else "t.csv")
        path.write_bytes(gzip.compress(data) if packed else data)
        found = tenfold.read_table(path, separator=separator, header=True)
    assert found.names == tuple(table)
    assert cells(found) == wanted


@quick
@given(tables(), st.sampled_from(["\t", "|", "::", "^"]))
def test_a_table_between_marks_that_need_no_quotes(table: dict[str, list[str]], separator: str) -> None:
    assume(not any(mark in cell for column in table.values() for cell in column for mark in "|:"))
    wanted = rows_of(table)
    assume(wanted)
    lines = [separator.join(row) for row in [tuple(table), *zip(*table.values(), strict=True)]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert cells(tenfold.read_table(path, separator=separator, header=True)) == wanted


@quick
@given(tables(), st.integers(0, 3), st.booleans(), st.booleans())
def test_titles_comments_and_ends_of_rows(
    table: dict[str, list[str]], titles: int, comments: bool, trailing: bool
) -> None:
    assume(not any(cell.startswith("#") for cell in next(iter(table.values()))))
    wanted = rows_of(table)
    assume(wanted)
    head, *body = written(table, ",", "\n", csv.QUOTE_MINIMAL).splitlines()
    if trailing:
        body = [f"{line}," for line in body]
    if comments:
        body = [line for one in body for line in ("# said, by, nobody", one)]
    text = "\n".join([*(["A title, of a table"] * titles), head, *body]) + "\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text(text, encoding="utf-8")
        options = {"skip_lines": titles, "comment": "#" if comments else None}
        found = tenfold.read_table(path, separator=",", header=True, **options)
    assert found.names == tuple(table) and cells(found) == wanted


@quick
@given(tables())
@pytest.mark.metamorphic("a table as Parquet, Arrow, mapping or rows has the cells of the text file")
def test_a_table_of_any_type(table: dict[str, list[str]]) -> None:
    wanted = list(zip(*table.values(), strict=True))
    arrow = pa.table({name: pa.array([one or None for one in column]) for name, column in table.items()})
    coded = pa.table({name: arrow[name].combine_chunks().dictionary_encode() for name in table})
    rows = [dict(zip(table, row, strict=True)) for row in wanted]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        parquet.write_table(arrow, path)
        for source in (path, arrow, coded, table, rows):
            assert cells(tenfold.read_table(source)) == wanted


@quick
@given(tables(st.one_of(CELL, QUOTED)), st.data())
def test_damage_is_a_refusal_and_never_a_traceback(table: dict[str, list[str]], data: st.DataObject) -> None:
    text = written(table, ",", "\n", csv.QUOTE_MINIMAL).encode()
    place = data.draw(st.integers(0, len(text)))
    kind = data.draw(st.sampled_from(["cut", "byte", "insert", "twice"]))
    byte = bytes([data.draw(st.integers(0, 255))])
    spoilt = {
        "cut": text[:place],
        "byte": text[:place] + byte + text[place + 1 :],
        "insert": text[:place] + byte + text[place:],
        "twice": text[:place] + text,
    }[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(spoilt)
        try:
            found = tenfold.read_table(path)
        except TenfoldError as error:
            assert error.headline
            return
        assert found.rows == len(cells(found)) > 0


# --- the same run ------------------------------------------------------------------------------------


def weights(folder: Path, source: Any, **options: Any) -> bytes:
    schema = Schema(
        inputs=(CategoryColumn(name="farm"), NumberColumn(name="age")),
        targets=(CategoryTarget(name="label"),),
    )
    recipe = Recipe(epochs=1, frozen_epochs=0, valid=0.25, seed=2)
    run = tenfold.fit(schema, recipe, source, run=folder / "run", report=False, **options)
    return (run.path / "weights.safetensors").read_bytes()


def factors(folder: Path, source: Any, **options: Any) -> bytes:
    schema = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="stars"),)
    )
    run = tenfold.fit(
        schema, FactorRecipe(method="als", factors=2), source, run=folder / "run", report=False, **options
    )
    # Beside the arrays stands what was said of the table, which is told in other words of another dialect.
    arrays, _ = read_arrays(run.path / "model.safetensors")
    return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))


RNG = np.random.default_rng(5)
FARMS = {
    "farm": [f"höf {one}" for one in RNG.integers(0, 4, 40)],
    "age": [f"{one:.2f}" if one > 25 else "" for one in RNG.uniform(20, 60, 40)],
    "label": [["ja", "nein"][one] for one in RNG.integers(0, 2, 40)],
}
STARS = {
    "user": [f"u{one // 8}" for one in range(48)],
    "item": [f"{one % 8:03d}" for one in range(48)],
    "stars": [str(one) for one in RNG.integers(1, 6, 48)],
}


@settings(quick, max_examples=4)
@given(
    st.permutations(["farm", "age", "label"]),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    st.sampled_from(["text", "gz", "parquet", "mapping"]),
)
@pytest.mark.metamorphic(
    "a table in another dialect, column order or file format gives the same network to the byte"
)
def test_the_same_network(order: list[str], separator: str, ending: str, encoding: str, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        assert (
            weights(place, in_form(place, FARMS, order, separator, ending, encoding, form)) == plain_network()
        )


@settings(quick, max_examples=5)
@given(
    st.permutations(["user", "item", "stars"]),
    st.sampled_from([",", ";", "\t", "::"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["text", "gz", "parquet", "mapping"]),
)
@pytest.mark.metamorphic(
    "ratings in another dialect, column order or file format give the same factors to the byte"
)
def test_the_same_factors(order: list[str], separator: str, ending: str, encoding: str, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        assert (
            factors(place, in_form(place, STARS, order, separator, ending, encoding, form)) == plain_factors()
        )


def in_form(
    folder: Path,
    table: dict[str, list[str]],
    order: list[str],
    separator: str,
    ending: str,
    encoding: str,
    form: str,
) -> Any:
    """The table with its columns in this order, in some form."""
    table = {name: table[name] for name in order}
    if form == "mapping":
        return table
    if form == "parquet":
        parquet.write_table(
            pa.table({name: pa.array(one) for name, one in table.items()}), folder / "t.parquet"
        )
        return folder / "t.parquet"
    lines = [separator.join(row) for row in [tuple(table), *zip(*table.values(), strict=True)]]
    data = (ending.join(lines) + ending).encode(encoding)
    path = folder / ("t.csv.gz" if form == "gz" else "t.csv")
    path.write_bytes(gzip.compress(data) if form == "gz" else data)
    return path


_KNOWN: dict[str, bytes] = {}


def plain_network() -> bytes:
    if "network" not in _KNOWN:
        with tempfile.TemporaryDirectory() as folder:
            _KNOWN["network"] = weights(Path(folder), FARMS)
    return _KNOWN["network"]


def plain_factors() -> bytes:
    if "factors" not in _KNOWN:
        with tempfile.TemporaryDirectory() as folder:
            _KNOWN["factors"] = factors(Path(folder), STARS)
    return _KNOWN["factors"]


# --- sample submissions ------------------------------------------------------------------------------


@quick
@given(st.data())
@pytest.mark.metamorphic("a sample submission in any order and dialect gets each id's own answer")
def test_a_sample_in_any_form(data: st.DataObject) -> None:
    ids = data.draw(
        st.lists(st.from_regex(r"[a-z0-9]{1,5}", fullmatch=True), min_size=2, max_size=9, unique=True)
    )
    chance = np.array([data.draw(st.floats(0.01, 0.99)) for _ in ids])
    asked = data.draw(st.permutations(ids).map(lambda some: some[: max(1, len(some) - 1)]))
    separator, ending = (
        data.draw(st.sampled_from([",", ";", "\t"])),
        data.draw(st.sampled_from(["\n", "\r\n"])),
    )
    mark, quotes = data.draw(st.sampled_from(["utf-8", "utf-8-sig"])), data.draw(st.booleans())
    place = data.draw(st.booleans())
    labels = np.where(chance > 0.5, "yes", "no").astype(object)
    target = TargetPrediction("category", ("no", "yes"), np.column_stack([1 - chance, chance]), labels)
    numbered = np.array([str(row + 2) for row in range(len(ids))], dtype=object)
    found = Predictions(
        numbered, {"label": target}, np.zeros(len(ids), bool), numbered=True,
        cells={"key": np.array(ids, dtype=object), "x": numbered},
    )  # fmt: skip
    words = [f'"{one}"' if quotes else one for one in asked]
    head, lines = ["key", "label"], [[one, "0.5"] for one in words]
    if place:
        head, lines = head[::-1], [row[::-1] for row in lines]
    text = ending.join(separator.join(row) for row in [head, *lines]) + ending
    with tempfile.TemporaryDirectory() as folder:
        like, out = Path(folder) / "sample.csv", Path(folder) / "out.csv"
        like.write_bytes(text.encode(mark))
        notes = write_submission(out, found, like=like)
        answer = out.read_bytes()
    wanted = {one: repr(float(value)) for one, value in zip(ids, chance, strict=True)}
    rows = [[word, wanted[one]] for word, one in zip(words, asked, strict=True)]
    rows = [row[::-1] for row in rows] if place else rows
    assert answer == (ending.join(separator.join(row) for row in [head, *rows]) + ending).encode(mark)
    assert any("the probability of 'yes'" in note for note in notes)
    assert any("1 predicted ids are not in" in note for note in notes) == (len(asked) < len(ids))


# --- job files ---------------------------------------------------------------------------------------

WORD = st.text(st.sampled_from("aé猫 =\"'\\.#[]"), min_size=1, max_size=8).filter(
    lambda one: one.strip() == one
)
RECIPES = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 50),
        "batch_size": st.integers(1, 512),
        "lr": st.floats(1e-5, 1.0),
        "seed": st.integers(0, 2**31),
        "valid": st.floats(0, 0.5),
        "image_size": st.tuples(st.integers(32, 300), st.integers(32, 300)),
        "weights": WORD,
    },
)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    names = draw(st.lists(WORD, min_size=5, max_size=5, unique=True))
    return Schema(
        inputs=(CategoryColumn(name=names[0]), NumberColumn(name=names[1])),
        targets=(
            CategoryTarget(name=names[2], classes=tuple(draw(st.lists(WORD, max_size=3, unique=True)))),
            NumberTarget(name=names[3], low=0.5, high=draw(st.floats(1, 100))),
            MultiLabelTarget(name=names[4]),
        ),
    )


@quick
@given(schemas(), RECIPES)
def test_schemas_and_recipes_go_through_toml(schema: Schema, values: dict[str, Any]) -> None:
    assert Schema.from_toml(schema.to_toml()) == schema
    recipe = Recipe(**values)
    assert Recipe.from_toml(recipe.to_toml()) == recipe


@quick
@given(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.sampled_from(["", "[schema]", "[recipe]"]))
def test_an_unknown_key_is_refused(key: str, section: str) -> None:
    known = {"": {"table", "output", "schema", "recipe"}, "[schema]": set(Schema.model_fields),
             "[recipe]": set(Recipe.model_fields)}  # fmt: skip
    assume(key not in known[section])
    lines = {
        "": ['table = "t.csv"'],
        "[schema]": ["[schema]", "inputs = []", "targets = []"],
        "[recipe]": ["[recipe]"],
    }
    text = "\n".join(
        line for name, own in lines.items() for line in [*own, *([f"{key} = 1"] if name == section else [])]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.toml"
        path.write_text(text + "\n")
        with pytest.raises((RecipeError, TenfoldError), match=key):
            job = read_job(path)
            Recipe(**job.recipe)
