"""docs/lesson7: every heading is a question, every question has code that runs, and no page is hidden."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from laws.pages import read_blocks
from laws.source import ROOT, assert_none

FOLDER = ROOT / "docs" / "lesson7"
#: One page to a section of the lesson, and words that its headings have: what nobody may leave out.
SECTIONS = {
    "gradient-accumulation": (
        "`//`", "`count >= 64`", "rate finder see", "just use a smaller batch",
        "batch size and learning rate", "differ", "causes the difference", "two lines",
    ),
    "ensemble": ("no fixed seed", "k-fold", "bagging", "every day", "GPU"),
    "multi-target": ("split and the transforms", "twenty things", "loss function"),
    "cross-entropy": (
        "formula of softmax", "when not", "cross-entropy calculated from softmax", "five images",
        "versions of cross-entropy", "cat is a grizzly", "spreadsheet",
    ),
    "multi-target-activations": ("which ten outputs", "help the first", "combined", "error rate"),
    "collaborative-filtering": (
        "cosine", "latent factors", "solver", "tabs", "gaps filled", "idea behind", "PyTorch",
    ),
    "embeddings": ("one-hot", "number of factors", "dummy variables"),
    "object-oriented": ("make a class", "`__init__`", "super class", "`forward`", "`.sum(dim=1)`", "`say`"),
    "improving": ("5.5 and not 5", "explain that", "get worse", "biases used", "sigmoid"),
    "weight-decay": ("sum of squares", "`wd` chosen", "large weights", "overfitting", "regularization"),
}  # fmt: skip
#: Pages that tell a story and ask nothing.
STORIES = ("README", "titanic")
#: What an answer without code says, with the reason.
WITHOUT = re.compile(r"\(No code: [^)]+\)")


def check_page(name: str, page: str) -> list[str]:
    """Headings that ask nothing, and questions without code or a reason for its want."""
    parts = re.split(r"(?m)^## ", page)[1:]
    faults = [] if parts else [f"{name}: no question at all"]
    for part in parts:
        heading, _, answer = part.partition("\n")
        where = f"{name}: {heading!r}"
        if not heading.rstrip().endswith("?"):
            faults.append(f"{where} is no question")
        code = [block for block in read_blocks(answer) if block.language == "python"]
        if not code and not WITHOUT.search(" ".join(answer.split())):
            faults.append(f"{where} has no code, and does not say why")
        # What neither compares nor prints for a comparison cannot fail over a wrong answer.
        checks = [block for block in read_blocks(answer) if block.tag == "output" or "assert" in block.code]
        if code and not checks:
            faults.append(f"{where} has code that checks nothing")
        if len(answer.split("```")[0].split()) < 8:
            faults.append(f"{where} is hardly answered in words")
    return faults


def pages() -> dict[str, Path]:
    return {path.stem: path for path in sorted(FOLDER.glob("*.md"))}


def test_every_section_has_its_page_and_every_page_a_line_in_the_index() -> None:
    index = (FOLDER / "README.md").read_text("utf-8")
    assert_none([f"{name}.md is missing" for name in SECTIONS if name not in pages()])
    listed = {link.removesuffix(".md") for link in re.findall(r"\]\(([\w-]+\.md)\)", index)}
    assert set(pages()) - {"README"} <= listed
    assert listed <= {*pages(), "titanic"}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_heading_is_a_question_with_code(name: str) -> None:
    assert_none(check_page(name, pages()[name].read_text("utf-8")))


@pytest.mark.parametrize("name", SECTIONS)
def test_no_question_is_left_out(name: str) -> None:
    headings = re.findall(r"(?m)^## (.*)$", pages()[name].read_text("utf-8"))
    assert_none([word for word in SECTIONS[name] if not any(word in heading for heading in headings)])
    assert len(set(headings)) == len(headings)


def test_no_page_is_of_a_section_that_there_is_not() -> None:
    assert set(pages()) <= {*SECTIONS, *STORIES}


ANSWER = "\nBecause it is so and not otherwise, as one can see here:\n```python\n{}\n```\n"


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("## Why?" + ANSWER.format("assert 1"), ""),
        ("## Because." + ANSWER.format("assert 1"), "is no question"),
        ("## Why?\nBecause it is so, and nobody knows more of it.\n", "has no code"),
        ("## Why?\nBecause it is so, and nobody knows more. (No code: a rule of\nthe house.)\n", ""),
        ("## Why?" + ANSWER.format("x = 1"), "checks nothing"),
        ("## Why?\n```python\nassert 1\n```\n", "hardly answered"),
        ("words", "no question at all"),
    ],
)
def test_faults_of_a_page_are_found(page: str, fault: str) -> None:
    found = check_page("page", page)
    assert (fault in found[0]) if fault else not found
