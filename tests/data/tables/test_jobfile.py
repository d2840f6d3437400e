"""A whole job in one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenfold.data.tables.jobfile import read_job
from tenfold.errors import RecipeError, SchemaError
from tenfold.schema import CategoryTarget, ImageColumn, Schema, UndecidedTarget

SCHEMA = """
[schema]
group = ["farm"]
inputs = [{ kind = "image", name = "id", folder = "données/图片" }]
targets = [
    { kind = "undecided", name = "disease" },
    { kind = "category", name = "variety", classes = ["b", "a"] },
]
"""
JOB = f'table = "train.csv"\noutput = "runs/first"\n{SCHEMA}\n[recipe]\nepochs = 3\nimage_size = [160, 320]\n'


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "job.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_job_says_everything(tmp_path: Path) -> None:
    job = read_job(write(tmp_path, JOB))
    assert (job.table, job.output) == ("train.csv", "runs/first")
    assert job.recipe == {"epochs": 3, "image_size": [160, 320]}
    assert job.schema == Schema(
        inputs=(ImageColumn(name="id", folder="données/图片"),),
        targets=(UndecidedTarget(name="disease"), CategoryTarget(name="variety", classes=("b", "a"))),
        group=("farm",),
    )


def test_output_and_recipe_may_be_left_to_the_command_line(tmp_path: Path) -> None:
    job = read_job(write(tmp_path, f'table = "007"\n{SCHEMA}'))
    assert (job.table, job.output, job.recipe) == ("007", "", {})


@pytest.mark.parametrize(
    "encode", [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n")]
)
def test_a_mark_and_line_ends_of_other_systems_do_not_matter(tmp_path: Path, encode) -> None:
    assert read_job(write(tmp_path, encode(JOB.encode()))) == read_job(write(tmp_path, JOB))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no 'table'"),
        ('table = "a.csv"\n', "has no 'schema'"),
        ("table = = 1", "is not TOML"),
        ('table = "caf\xe9"'.encode("latin-1"), "line 1, byte 0xE9"),
        (JOB.encode("utf-16-le"), "is not UTF-8"),
        (f'table = "a"\nouput = "x"\n{SCHEMA}', "did you mean 'output'?"),
        (f"table = 5\n{SCHEMA}", "table = 5: give text"),
        (f'table = ["a.csv", "b.csv"]\n{SCHEMA}', "give text"),
        (f'table = "a"\noutput = true\n{SCHEMA}', "output = True: give text"),
        (f'table = "a"\nrecipe = 3\n{SCHEMA}', "recipe = 3: give a table"),
        ('table = "a"\nschema = "disease"\n', "schema = 'disease': give a table"),
        ('table = "a"\n[[schema]]\ninputs = []\n', "give a table"),
        ("table = " + "[" * 50_000, "nested too deeply"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_file_that_is_no_job_is_refused_by_name(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_job(write(tmp_path, content))
    assert words in str(caught.value) and "job.toml" in str(caught.value) and caught.value.labels["fix"]


def test_all_values_of_the_wrong_kind_are_listed(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_job(write(tmp_path, f"table = 1\noutput = 2\n{SCHEMA}"))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("inputs = []", "targets is not given"),
        ('inputs = []\ntargets = "label"', "targets = 'label'"),
        ("inputs = []\ntargets = []\ngroups = ['a']", "did you mean 'group'?"),
        ("inputs = [{ kind = 'image', name = 'id' }]\ntargets = []", "folder is not given"),
        ("inputs = [{ kind = 'photo', name = 'id' }]\ntargets = []", "photo"),
        ("inputs = []\ntargets = [{ kind = 'category', name = 'a', classes = [0, 1] }]", "classes"),
        ("inputs = []\ntargets = []\nself = 1", "unknown name 'self'"),
    ],
)
def test_a_wrong_schema_is_a_schema_error(tmp_path: Path, schema: str, words: str) -> None:
    with pytest.raises(SchemaError) as caught:
        read_job(write(tmp_path, f'table = "a"\n[schema]\n{schema}\n'))
    assert words in str(caught.value)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nowhere.toml cannot be read: No such file"):
        read_job(tmp_path / "nowhere.toml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_job(tmp_path)
