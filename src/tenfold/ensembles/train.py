"""Many members, each trained in a fresh process, and their blend: run again, it does what is left to do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tenfold.data.tables.jobfile import EnsembleFile
from tenfold.ensembles.children import Child, Children, ask
from tenfold.ensembles.networks import NetworkEnsemble
from tenfold.ensembles.requests import (
    BlendRequest,
    CheckRequest,
    FitRequest,
    MemberRecipe,
    MemberRuns,
    reading_values,
)
from tenfold.ensembles.status import MemberStatus, data_mark, refusal_of, unit_mark
from tenfold.errors import RecipeError, TenfoldError, TrainingError
from tenfold.events import (
    EpochEnded,
    Event,
    ImagesRead,
    Listener,
    MembersChanged,
    StageBegan,
    StepEnded,
    TrainingChanged,
)
from tenfold.members import EnsembleRecipe, Member, Sections, expand, read_members
from tenfold.recipe import Recipe, with_defaults_for
from tenfold.runs.bundle import LOGS, describe_bundle, describe_member, making_bundle
from tenfold.runs.fitting import finish_run
from tenfold.runs.folder import RunFolder, differences, file_digest, none_to_nan, read_run, read_text
from tenfold.runs.options import Machine, Reading
from tenfold.runs.place import PAGE
from tenfold.runs.reading import kept_options
from tenfold.runs.record import RunRecord
from tenfold.values import Log


@dataclass(frozen=True)
class Finished:
    """What ``tenfold ensemble`` did.

    summary: as it is printed with ``--json`` (docs/formats.md).  failed: members without a whole run.
    """

    path: Path
    summary: dict[str, Any]
    failed: tuple[str, ...]


def train_ensemble(
    file: EnsembleFile,
    *,
    output: str | os.PathLike[str],
    jobs: str = "1",
    reading: Reading | None = None,
    machine: Machine | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> Finished:
    """Train what is not yet trained of an ensemble, and blend all that has finished.

    output: the folder of the ensemble; what it holds already of the same recipe and data is kept.
    jobs: how many members train at once: a number, or ``auto`` for two. More than one only where their
        memory plans say that all fit.
    on_progress: told of every change (`MembersChanged`).
    Raises RecipeError or SchemaError with all faults before anything is trained, and TrainingError where no
    member could be trained.
    """
    how, members = check_recipe(file)
    work = _Ensemble(
        file,
        how,
        members,
        _most(jobs),
        machine or Machine(),
        reading or Reading(),
        on_progress or (lambda event: None),
        on_note or (lambda line: None),
    )
    with making_bundle(output) as (folder, before):
        return work.run(folder, before)


def check_recipe(file: EnsembleFile) -> tuple[EnsembleRecipe, tuple[Member, ...]]:
    """The ensemble's choices and its members. Raises RecipeError with the faults of both."""
    problems: list[str] = []
    hint = ""
    how, members = EnsembleRecipe(), ()
    try:
        how = EnsembleRecipe(**file.how)
    except RecipeError as error:
        problems += [f"[ensemble]: {one}" for one in error.problems]
        hint = error.labels.get("fix", "")
    if how.folds == 1:
        problems.append("[ensemble]: folds = 1: give 2 or more, or 0 for one split")
    if file.schema.ids:
        problems.append(
            "[schema]: members are trained from pictures; blend ratings runs with `tenfold blend`"
        )
    try:
        members = read_members(Sections(**file.sections), how)
    except RecipeError as error:
        problems += error.problems
        hint = hint or error.labels.get("fix", "")
    same = how.folds or how.split == "same" or file.schema.split or file.schema.time
    if how.blend != "weights" and not same and len(members) > 1:
        problems.append(
            f"[ensemble]: blend = {how.blend!r} learns from rows that every member held out, but each has a "
            "split of its own: set folds = 5, or split = 'same'"
        )
    if how.soup and not same:
        problems.append(
            "[ensemble]: soup is judged by rows that every member held out, but each has a split of its own: "
            "set folds = 5, or split = 'same'"
        )
    if how.folds and file.schema.split:
        problems.append("[ensemble]: folds, and a split column in [schema], say two things: leave one out")
    if problems:
        raise RecipeError("the ensemble's recipe has faults", problems=problems, fix=hint)
    return how, members


def _most(jobs: str) -> int:
    if jobs == "auto":
        return 2
    if not jobs.isdecimal() or int(jobs) < 1:
        raise RecipeError(f"--jobs {jobs!r} is no number of members", fix="give a number from 1 up, or auto")
    return int(jobs)


@dataclass
class _Ensemble:
    """One call of `train_ensemble`."""

    file: EnsembleFile
    how: EnsembleRecipe
    members: tuple[Member, ...]
    most: int
    machine: Machine
    reading: Reading
    tell: Listener
    note: Log
    standings: dict[str, MemberStatus] = field(default_factory=dict)
    plans: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    started: float = field(default_factory=time.monotonic)

    def run(self, folder: RunFolder, before: Mapping[str, Any]) -> Finished:
        """Check, train and blend."""
        # What is wrong with the files is told by the check; their marks are only compared.
        data = self.data = data_mark(self.file, reading_values(self.reading))
        for unit in expand(self.members, self.how):
            self.standings[unit.name] = MemberStatus(unit, unit_mark(data, unit.recipe))
        known = before.get("units", {})
        for one in self.standings.values():
            self._recall(folder, one, known.get(one.unit.name, {}))
        gone = [name for name in known if name not in self.standings]
        if gone:
            self.note(f"no longer in the recipe, kept but not blended: {', '.join(sorted(gone))}")
        waiting = [one for one in self.standings.values() if one.status == "waiting"]
        if waiting:
            self._check(folder)
        elif before.get("done") == self._done(folder):
            self.note("nothing is left to do")
            # It may have been stopped between its last file and its page.
            return self._finished(folder, RunRecord(before), new=not folder.file(PAGE).exists())
        self._describe(folder, {})
        self._show()
        try:
            self._train(folder, waiting)
        finally:
            self._describe(folder, {})
        finished = self._whole_members()
        if not finished:
            raise TrainingError(
                "no member could be trained",
                problems=[f"{one.unit.name}: {one.stage}" for one in self.standings.values()],
                fix="mend what is named, and run the command again",
            )
        return self._blend(folder, finished)

    # --- what is there already

    def _recall(self, folder: RunFolder, one: MemberStatus, kept: Mapping[str, Any]) -> None:
        """Take a finished run as it is, if it is of this very training; say what has changed if not."""
        path = self._path(folder, one)
        if not (path / "run.json").exists():
            return
        name = one.unit.name
        try:
            _, about = read_run(path)
            recipe = Recipe.from_toml(read_text(path, "recipe.toml"))
        except TenfoldError as error:
            self.note(f"{name} is trained again: {error.headline}")
            return
        wanted = with_defaults_for(one.unit.recipe, self.file.schema)
        changed = differences(recipe.model_dump(mode="json"), wanted.model_dump(mode="json"))
        if changed:
            self.note(f"{name} is trained again: {', '.join(changed)}")
        elif kept.get("mark") != one.mark:
            # Its own process compares the pictures themselves, and trains only if one has changed.
            self.note(f"{name}: the table or its pictures may have changed: they are compared")
        else:
            self.note(f"{name} has finished already")
            self._take(one, {**about, "targets": none_to_nan(about["targets"])})

    def _take(self, one: MemberStatus, summary: Mapping[str, Any]) -> None:
        one.status, one.stage, one.part = "finished", "finished", 1.0
        one.seconds, one.peak_bytes = summary["seconds"], summary["peak_bytes"]
        one.scores = dict(summary["targets"])

    def _path(self, folder: RunFolder, one: MemberStatus) -> Path:
        return folder.path / "members" / one.unit.name

    # --- before the first training

    def _check(self, folder: RunFolder) -> None:
        request = CheckRequest(
            schema=self.file.schema,
            table=self.file.table,
            reading=self.reading,
            machine=self.machine,
            folds=self.how.folds,
            plan=self.most if self.most > 1 else 0,
            members=[MemberRecipe(member.name, member.recipe) for member in self.members],
        )
        errors = folder.file(LOGS) / "check.txt"
        found = ask(request.to_json(), errors, lambda name, event: self._heard_check(event))
        if found.get("faults"):
            raise refusal_of(found["faults"])
        self.plans = found["plans"]

    def _heard_check(self, event: Event | None) -> None:
        if isinstance(event, StageBegan):
            self.tell(event)

    # --- training

    def _train(self, folder: RunFolder, waiting: Sequence[MemberStatus]) -> None:
        left = list(waiting)
        with Children(self._heard) as children:
            while left or children.running:
                while left and self._fits(children, left[0]):
                    self._start(folder, children, left.pop(0))
                child = children.next_finished()
                self._ended(folder, child)
                self._describe(folder, {})
                self._show()

    def _fits(self, children: Children, one: MemberStatus) -> bool:
        """Whether a further training may start now."""
        if not children.running:
            return True
        # A plan was made for an equal share of the memory each; who needs more of it trains alone.
        wanted = [self.plans.get(self.standings[name].unit.member) for name in children.running]
        return len(children.running) < self.most and all(wanted) and bool(self.plans.get(one.unit.member))

    def _start(self, folder: RunFolder, children: Children, one: MemberStatus) -> None:
        machine = self.machine
        if self.most > 1 and self.plans.get(one.unit.member):
            machine = replace(machine, budget=str(self.plans["budget_bytes"] // self.most))
        request = FitRequest(
            schema=self.file.schema,
            table=self.file.table,
            reading=self.reading,
            machine=machine,
            recipe=one.unit.recipe,
            run=str(self._path(folder, one)),
        )
        one.status, one.stage, one.began = "running", "starting", time.monotonic()
        children.start(one.unit.name, request.to_json(), self._log(folder, one))
        self._show()

    def _log(self, folder: RunFolder, one: MemberStatus) -> Path:
        return folder.file(LOGS) / f"{one.unit.name}.txt"

    def _ended(self, folder: RunFolder, child: Child) -> None:
        one = self.standings[child.name]
        failure = child.failure()
        if failure:
            one.status, one.stage, one.seconds = "failed", failure, child.seconds
            self.note(f"{one.unit.name} failed: {failure}")
            return
        self._log(folder, one).unlink(missing_ok=True)
        summary = child.answer["summary"]
        one.overhead = child.seconds - summary["seconds"]
        self._take(one, {**summary, "targets": none_to_nan(summary["targets"])})

    def _heard(self, name: str, event: Event | None) -> None:
        one = self.standings.get(name)
        if one is not None:
            match event:
                case StageBegan():
                    one.stage = event.name
                case ImagesRead():
                    one.stage = f"reading pictures {event.done}/{event.total}"
                case StepEnded():
                    one.stage = f"epoch {event.epoch + 1}/{event.epochs}"
                    one.part = (event.epoch + event.step / event.steps) / event.epochs
                case EpochEnded():
                    one.scores, one.peak_bytes = none_to_nan(event.valid), event.peak_bytes
                case TrainingChanged():
                    self.note(f"{name} is trained again: {', '.join(event.what)}")
        self._show()

    def _show(self) -> None:
        self.tell(MembersChanged([one.row() for one in self.standings.values()]))

    def _recipe(self) -> dict[str, Any]:
        """What the history says of this ensemble: its choices, and every member's beside the defaults."""
        plain = Recipe.model_validate({}).model_dump(mode="json")
        members = {}
        for member in self.members:
            own = member.recipe.model_dump(mode="json")
            other = {name: value for name, value in own.items() if value != plain.get(name)}
            members[member.name] = {"weight": member.weight, **other}
        return {**self.how.model_dump(mode="json"), "members": members}

    def _done(self, folder: RunFolder) -> list[Any]:
        """What a blend was made of: where this is the same, so is the blend."""
        runs = [
            [name, one.status, file_digest(self._path(folder, one) / "run.json")]
            for name, one in self.standings.items()
            if one.status == "finished"
        ]
        return [self._recipe(), runs]

    # --- what is left behind

    def _units(self, member: Member) -> list[MemberStatus]:
        return [one for one in self.standings.values() if one.unit.member == member.name]

    def _whole_members(self) -> list[Member]:
        """Members of which every fold has finished: no other is blended."""
        return [
            member for member in self.members if all(one.status == "finished" for one in self._units(member))
        ]

    def _describe(self, folder: RunFolder, blended: Mapping[str, Any]) -> RunRecord:
        """Write ``run.json`` as things stand, so that whatever comes next, it says what is whole."""
        whole = {member.name for member in self._whole_members()}
        scores = blended.get("scores", {})
        members = []
        for member in self.members:
            units = self._units(member)
            failed = [one for one in units if one.status == "failed"]
            status = "finished" if member.name in whole else "failed" if failed else "unfinished"
            paths = [self._path(folder, one) for one in units] if status == "finished" else []
            members.append(
                describe_member(
                    folder,
                    member.name,
                    member.weight,
                    paths,
                    status=status,
                    error=failed[0].stage if failed else "",
                    scores=scores.get(member.name, units[0].scores if len(units) == 1 else {}),
                    seconds=round(sum(one.seconds for one in units), 3),
                    overhead_seconds=round(max(one.overhead for one in units), 3),
                    peak_bytes=max(one.peak_bytes for one in units),
                )
            )
        for soup in blended.get("soups", ()):
            paths = [folder.file(path) for path in soup["runs"]]
            more = {"error": "", "overhead_seconds": 0.0}
            own = scores.get(soup["name"], {})
            members.append(describe_member(folder, soup["name"], soup["weight"], paths, scores=own, **more))
        about = {
            "of": "network",
            "table": self.file.table,
            "reading": kept_options(self.file.table, self.reading.table),
            "recipe": self._recipe(),
            "identity": {"data": self.data},
            "members": members,
            # Of what has not finished, the folder may hold an older run of other data.
            "units": {
                name: {"mark": one.mark if one.status == "finished" else "", "status": one.status}
                for name, one in self.standings.items()
            },
            **blended.get("judged", {}),
            "done": self._done(folder) if blended else None,
            "method": self.how.blend,
            "seconds": round(time.monotonic() - self.started, 3),
            "peak_bytes": max(one.peak_bytes for one in self.standings.values()),
        }
        if not blended:
            # Of members that have changed, what was once found is no longer true.
            folder.file("oof.parquet").unlink(missing_ok=True)
            folder.write_text("schema.toml", self.file.schema.to_toml())
        return describe_bundle(folder, about)

    def _blend(self, folder: RunFolder, finished: Sequence[Member]) -> Finished:
        request = BlendRequest(
            table=self.file.table,
            reading=self.reading,
            machine=self.machine,
            folder=str(folder.path),
            method=self.how.blend,
            seed=int(self.file.sections.get("recipe", {}).get("seed", 0)),
            soup=self.how.soup,
            members=[
                MemberRuns(
                    member.name, member.weight, [f"members/{one.unit.name}" for one in self._units(member)]
                )
                for member in finished
            ],
        )
        found = ask(request.to_json(), folder.file(LOGS) / "blend.txt", lambda name, event: None)
        for note in found["notes"]:
            self.note(note)
        folder.write_text("schema.toml", found["schema"])
        return self._finished(folder, self._describe(folder, found), new=True)

    def _finished(self, folder: RunFolder, record: RunRecord, *, new: bool) -> Finished:
        """The ensemble as it stands in its folder. new: its line in the history and its page are lacking."""
        ensemble = NetworkEnsemble.open(folder.path, record)
        if new:
            finish_run(ensemble, log=self.note)
        failed = tuple(member.name for member in record.members if member.status != "finished")
        return Finished(folder.path, {**ensemble.summary, "failed": list(failed)}, failed)
