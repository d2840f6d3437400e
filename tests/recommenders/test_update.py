"""Updates of a run: what is learned, what is refused, what stays when one is interrupted."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold.data.synthetic import draw_ratings
from tenfold.errors import RatingsError, RunError
from tenfold.recommenders.run import RecommenderRun
from tenfold.recommenders.update import advice
from tenfold.runs.folder import RunFolder, file_digest
from tenfold.runs.place import CHECKPOINT, LOCK
from tenfold.runs.record import RunRecord

COLUMNS = {"user": "user", "item": "item", "target": "stars"}
QUICK: dict[str, Any] = {"method": "als", "epochs": 4, "factors": 3, "quiet": True, "report": False}


def table_of(rows: list[tuple[str, str, float]]) -> dict[str, list[object]]:
    users, items, stars = zip(*rows, strict=True)
    return {"user": list(users), "item": list(items), "stars": list(stars)}


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, str, float]]:
    drawn = draw_ratings(60, 40, 900, seed=2)
    stars = np.clip(np.round(np.asarray(drawn["rating"], float)), 1, 5)
    pairs = dict.fromkeys(zip(drawn["user"], drawn["item"], strict=True), 0.0)
    pairs |= dict(zip(zip(drawn["user"], drawn["item"], strict=True), stars.tolist(), strict=True))
    return [(str(user), str(item), float(value)) for (user, item), value in pairs.items()]


@pytest.fixture(scope="module")
def made(rows: list[tuple[str, str, float]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("updates")
    tenfold.fit(table_of(rows[:-60]), run=folder / "run", valid=0.1, **COLUMNS, **QUICK)
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> RecommenderRun:
    shutil.copytree(made, tmp_path / "run")
    return tenfold.load_run(tmp_path / "run", RecommenderRun)


def rating(run: RecommenderRun, user: str, item: str) -> float:
    known = run.interactions
    row, place = np.flatnonzero(known.users == user)[0], np.flatnonzero(known.items == item)[0]
    part = slice(known.seen_start[row], known.seen_start[row + 1])
    return dict(zip(known.seen_items[part].tolist(), known.seen_ratings[part].tolist(), strict=True))[place]


def test_an_update_is_kept_and_recorded(run: RecommenderRun, rows: list[tuple[str, str, float]]) -> None:
    new = [*rows[-60:-50], ("me", rows[0][1], 5.0), (rows[0][0], "brand new", 4.0), ("me", "brand new", 2.0)]
    notes: list[str] = []
    after = run.update(table_of(new), on_note=notes.append)
    again = tenfold.load_run(run.path, RecommenderRun)
    pairs = ["me", rows[0][0]], ["brand new", rows[1][1]]
    assert np.array_equal(after.predict_pairs(*pairs).score, again.predict_pairs(*pairs).score)
    assert rating(again, "me", "brand new") == 2 and rating(again, rows[0][0], "brand new") == 4
    update = again.record.updates[0]
    assert (update["rows"], update["learned"], update["already"], update["left_out"]) == (13, 13, 0, 0)
    assert (update["new_users"], update["new_items"]) == (1, 1)
    assert update["error"]["scored"] == 10 and 0 < update["error"]["rmse"] < 3
    before = run.record
    assert again.record.rows == before.rows + 13 and again.record.users == before.users + 1
    assert again.record.targets == before.targets and again.record.values["fitted"] == before.finished
    assert "me" in after.recommend("me", n=3).users and "13 new ratings" in " ".join(notes)
    assert not list(run.path.parent.glob("*.part")) and not list(run.path.parent.glob(".*old"))
    # The rows' order is nothing.
    other = tenfold.load_run(shutil.copytree(run.path, run.path.with_name("other")), RecommenderRun)
    first, second = (list(reversed(rows[-50:-40])), rows[-50:-40])
    made = [one.update(table_of(part)) for one, part in ((after, first), (other, second))]
    assert file_digest(made[0].path / "model.safetensors") == file_digest(made[1].path / "model.safetensors")
    assert len(made[0].record.updates) == 2


def test_what_is_in_already_changes_nothing(run: RecommenderRun, rows: list[tuple[str, str, float]]) -> None:
    held = set(zip(*run.held_out_pairs(), strict=True))
    inside = [row for row in rows[:-60] if row[:2] not in held][:5]
    before = {path.name: file_digest(path) for path in run.path.iterdir()}
    notes: list[str] = []
    same = run.update(table_of(inside), on_note=notes.append)
    assert "all 5 ratings are in the run already: nothing was changed" in notes and not same.record.updates
    assert {path.name: file_digest(path) for path in run.path.iterdir()} == before
    run.update(table_of(rows[-60:-50]))
    twice = tenfold.load_run(run.path, RecommenderRun).update(table_of(rows[-60:-50]))
    assert len(twice.record.updates) == 1
    told = [pair for pair in rows[:-60] if pair[:2] in held][:2]
    run.update(table_of(told), on_note=notes.append)
    assert "2 of these ratings were held out by the fit" in " ".join(notes)


@pytest.mark.parametrize(
    ("rule", "wanted"), [("last", 5), ("first", 2), ("mean", 3.5), ("max", 5), ("min", 2), ("error", None)]
)
def test_a_rating_that_changes_follows_the_rule_of_the_run(
    rule: str, wanted: float | None, rows: list[tuple[str, str, float]], tmp_path: Path
) -> None:
    mine = [("me", rows[0][1], 2.0), *rows[:300]]
    run = tenfold.fit(table_of(mine), run=tmp_path / "run", duplicates=rule, **COLUMNS, **QUICK)
    new = table_of([("me", rows[0][1], 5.0)])
    if wanted is None:
        with pytest.raises(RatingsError, match="1 pairs are in the run already"):
            run.update(new)
        return
    after = run.update(new)
    assert rating(after, "me", rows[0][1]) == wanted and len(after.interactions.seen_items) == 301
    assert [update["changed"] for update in after.record.updates] == ([] if rule in ("first", "min") else [1])


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RunError])
def test_an_interrupted_update_leaves_the_run_as_it_was(
    error: type[BaseException],
    run: RecommenderRun,
    rows: list[tuple[str, str, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {path.name: file_digest(path) for path in run.path.iterdir()}
    with monkeypatch.context() as patched:

        def stop(*_: object) -> None:
            raise error("stopped")

        patched.setattr(RunFolder, "describe", stop)
        with pytest.raises((KeyboardInterrupt, RunError)):
            run.update(table_of(rows[-60:]))
    assert {path.name: file_digest(path) for path in run.path.iterdir()} == before
    # A process that was killed leaves its folder behind.
    part = run.path.with_name("run.part")
    part.mkdir(exist_ok=True)
    (part / LOCK).touch()
    (part / "model.safetensors").write_bytes(b"half")
    assert run.update(table_of(rows[-60:])).record.updates[0]["learned"] == 60
    assert not part.exists()


def test_an_unfinished_fit_is_not_ended_by_an_update(run: RecommenderRun, rows: list[Any]) -> None:
    part = run.path.with_name("run.part")
    part.mkdir()
    (part / LOCK).touch()
    (part / CHECKPOINT).write_bytes(b"weeks of work")
    with pytest.raises(RunError, match="has not finished"):
        run.update(table_of(rows[-60:]))
    assert (part / CHECKPOINT).read_bytes() == b"weeks of work"


def test_ratings_of_another_scale_are_refused(run: RecommenderRun, rows: list[Any]) -> None:
    with pytest.raises(RatingsError, match="outside the run's scale 1 to 5"):
        run.update(table_of([(user, item, 2 * value) for user, item, value in rows[-60:]]))
    low = table_of([(user, item, 1 + value / 10) for user, item, value in rows[-60:]])
    with pytest.raises(RatingsError, match="below what the run expects") as refused:
        run.update(low)
    assert "--accept-shift" in str(refused.value) and not tenfold.load_run(run.path).record.updates
    assert run.update(low, accept_shift=True).record.updates[0]["learned"] == 60


def test_names_in_another_unicode_form_and_columns_with_other_names(
    rows: list[tuple[str, str, float]], tmp_path: Path
) -> None:
    name = "Zo\u00eb"
    mine = [(name, item, 3.0) for _, item, _ in rows[:1]]
    run = tenfold.fit(table_of([*mine, *rows[:300]]), run=tmp_path / "run", **COLUMNS, **QUICK)
    new: Mapping[str, object] = {
        "who": [unicodedata.normalize("NFD", name)] * 2,
        "what": [rows[0][1], "another"],
        "how": [5, 1],
    }
    after = run.update(new, columns={"user": "who", "item": "what", "rating": "how"})
    assert rating(after, name, rows[0][1]) == 5 and len(after.interactions.users) == len(
        run.interactions.users
    )
    assert after.record.updates[0]["changed"] == 1 and after.record.updates[0]["new_items"] == 1


def test_newest_first_or_last_the_last_by_time_counts(
    tmp_path: Path, rows: list[tuple[str, str, float]]
) -> None:
    timed = {**table_of(rows[:300]), "when": [f"2020-01-{1 + row % 28:02d}" for row in range(300)]}
    fitted = tenfold.fit(timed, run=tmp_path / "run", time="when", **COLUMNS, **QUICK)
    item = rows[0][1]
    new = {
        "user": ["me", "me"],
        "item": [item, item],
        "stars": [2.0, 5.0],
        "when": ["2021-05-05", "2021-01-01"],
    }
    other = tenfold.load_run(shutil.copytree(fitted.path, tmp_path / "other"), RecommenderRun)
    for run, table in ((fitted, new), (other, {name: cells[::-1] for name, cells in new.items()})):
        assert rating(run.update(table), "me", item) == 2


def test_items_by_title_and_two_of_one_title(tmp_path: Path, rows: list[tuple[str, str, float]]) -> None:
    items = sorted({item for _, item, _ in rows[:300]})
    with open(tmp_path / "items.csv", "w", encoding="utf-8") as stream:
        titles = ["The Same", "The Same", *(f"Film {item}" for item in items[2:])]
        stream.write(
            "item,title\n" + "".join(f"{item},{title}\n" for item, title in zip(items, titles, strict=True))
        )
    words = {"item_table": str(tmp_path / "items.csv"), "item_name": "title"}
    run = tenfold.fit(table_of(rows[:300]), run=tmp_path / "run", **words, **COLUMNS, **QUICK)
    after = run.update(table_of([("me", f"Film {items[5]}", 5.0), ("me", items[0], 1.0)]))
    assert rating(after, "me", items[5]) == 5 and rating(after, "me", items[0]) == 1
    assert len(after.interactions.items) == len(run.interactions.items)
    with pytest.raises(RatingsError, match="The Same"):
        after.update(table_of([("me", "The Same", 3.0)]))


def test_an_updated_run_is_not_the_fit_that_resume_asks_for(
    run: RecommenderRun, rows: list[tuple[str, str, float]]
) -> None:
    run.update(table_of(rows[-60:]))
    with pytest.raises(RunError, match="of another fit") as refused:
        tenfold.fit(table_of(rows[:-60]), run=run.path, valid=0.1, resume=True, **COLUMNS, **QUICK)
    assert any(problem.startswith("updates") for problem in refused.value.problems)


def test_events_add_up_and_are_not_counted_twice(rows: list[tuple[str, str, float]], tmp_path: Path) -> None:
    def events(part: list[tuple[str, str, float]]) -> dict[str, list[object]]:
        return {"user": [user for user, _, _ in part], "item": [item for _, item, _ in part]}

    words = {"user": "user", "item": "item", "kind": "implicit", "quiet": True, "report": False}
    for method in ("ease", "als"):
        run = tenfold.fit(events(rows[:-60]), run=tmp_path / method, method=method, **words)
        new = events(
            [*rows[-60:], rows[0], ("me", "fresh", 1.0), ("me", rows[0][1], 1.0), (rows[0][0], "fresh", 1.0)]
        )
        after = run.update(new)
        assert rating(after, rows[0][0], rows[0][1]) == 2 and rating(after, "me", "fresh") == 1
        assert "fresh" in after.recommend(rows[5][0], n=40).items
        assert after.record.updates[0]["error"]["ndcg"] >= 0
        with pytest.raises(RunError, match="was learned already: update 1"):
            after.update(new)
        assert rating(after.update(new, again=True), "me", "fresh") == 2
        other = tenfold.fit(events(rows[:-60]), run=tmp_path / f"{method}2", method=method, **words)
        with pytest.raises(RunError, match="holds every event of the run"):
            other.update(events(rows))


def test_what_cannot_be_updated_says_what_to_do(
    run: RecommenderRun, rows: list[tuple[str, str, float]], tmp_path: Path
) -> None:
    blend = tenfold.blend(
        [run.path, shutil.copytree(run.path, tmp_path / "two")], output=tmp_path / "b", quiet=True
    )
    with pytest.raises(RunError, match="learns in a training only") as refused:
        blend.update(table_of(rows[-60:]))  # type: ignore[attr-defined]
    assert "update its members" in str(refused.value)
    with pytest.raises(RatingsError, match="none of 2 ratings could be learned"):
        run.update(table_of([("stranger", "strange", 3.0), ("stranger", "stranger still", 4.0)]))
    assert not tenfold.load_run(run.path).record.updates


def test_a_full_fit_is_advised_when_the_error_drifts() -> None:
    def update(rmse: float, scored: int = 5000, learned: int = 100) -> dict[str, Any]:
        return {"learned": learned, "error": {"scored": scored, "rmse": rmse, "biases_rmse": 1.0}}

    scores = {"known": {"rmse": 0.9}, "baselines": {"biases": {"rmse": 1.0}}}
    fitted = RunRecord({"targets": {"stars": scores}, "train_rows": 100_000})
    assert advice([update(0.905)], fitted, "stars") == []
    assert "is 0.930 of the baseline's, and it was 0.900" in advice([update(0.93)], fitted, "stars")[0]
    # Few ratings say little.
    assert advice([update(0.93, scored=50)], fitted, "stars") == []
    # Without held-out ratings the first update is what later ones are compared with.
    plain = RunRecord({"train_rows": 100_000})
    assert advice([update(0.93)], plain, "stars") == []
    assert advice([update(0.93), update(0.93)], plain, "stars") == []
    assert len(advice([update(0.9), update(0.93)], plain, "stars")) == 1
    grown = advice([update(0.9, learned=60_000)], plain, "stars")
    assert grown == ["a full fit would pay: 60,000 ratings were learned since it had 100,000"]
