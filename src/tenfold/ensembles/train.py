"""Trains the members of an ensemble, each in a fresh process, and blends them; run again, it continues."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tenfold.data.tables.jobfile import EnsembleFile
from tenfold.ensembles.children import Needs, ask
from tenfold.ensembles.places import Ended, Tasks, tasks_on
from tenfold.ensembles.requests import (
    BlendAnswer,
    BlendRequest,
    CheckAnswer,
    CheckRequest,
    FitRequest,
    MemberRecipe,
    MemberRuns,
)
from tenfold.ensembles.status import MemberStatus, data_mark, refusal_of, unit_mark
from tenfold.errors import RecipeError, TenfoldError, TrainingError
from tenfold.events import (
    EpochEnded,
    Event,
    ImagesRead,
    Listener,
    MembersChanged,
    NoteAdded,
    RowsPredicted,
    StageBegan,
    StepEnded,
    TrainingChanged,
)
from tenfold.members import EnsembleRecipe, Member, Sections, expand, read_members
from tenfold.networks.opened import resolved_recipe
from tenfold.recipe import (
    FactorRecipe,
    RatingNetworkRecipe,
    Recipe,
    network_recipe,
    ratings_recipe,
    with_defaults_for_rows,
)
from tenfold.runs.bundle import LOGS, describe_bundle, describe_member, making_bundle
from tenfold.runs.fitting import finish_run
from tenfold.runs.folder import RunFolder, differences, file_digest, read_run, read_text
from tenfold.runs.heldout import FILES as HELD_OUT_FILES
from tenfold.runs.options import Machine, Reading
from tenfold.runs.place import PAGE
from tenfold.runs.reading import kept_options
from tenfold.runs.record import RunRecord, none_to_nan
from tenfold.runs.registry import ensemble_class, load_run, open_run
from tenfold.runs.run import Member as RunMember
from tenfold.values import Log


@dataclass(frozen=True)
class Finished:
    """The result of ``tenfold ensemble``.

    summary: as ``--json`` prints it (docs/formats.md).  failed: members that have not finished.
    """

    path: Path
    summary: dict[str, object]
    failed: tuple[str, ...]


def train_ensemble(
    file: EnsembleFile,
    *,
    output: str | os.PathLike[str],
    jobs: str | None = None,
    on: str | None = None,
    time_limit: float | None = None,
    reading: Reading | None = None,
    machine: Machine | None = None,
    on_progress: Listener | None = None,
    on_note: Log | None = None,
) -> Finished:
    """Train the members that have not finished, and blend all that have.

    output: the folder of the ensemble; finished members of the same recipe and data are kept.
    jobs: how many members train at once: a number, or ``auto`` for two, where their memory plans fit. By
        default 1, and on a cluster as many as fit there.
    on: train on a Ray cluster: see `ensembles.places.tasks_on`.
    time_limit: seconds; each training ends early that is late in its share of what is left.
    on_progress: called with every change (`MembersChanged`).
    Raises RecipeError or SchemaError with all faults before anything is trained, and TrainingError if no
    member could be trained.
    """
    how, members = check_recipe(file)
    most = (
        _most("1" if jobs is None else jobs) if on is None or jobs is not None else len(expand(members, how))
    )
    reading, machine = reading or Reading(), machine or Machine()
    tell, note = on_progress or (lambda event: None), on_note or (lambda line: None)
    with making_bundle(output) as (folder, before):
        return _Ensemble(
            file, how, members, folder, most, machine, reading, tell, note, on, time_limit=time_limit
        ).run(before)


def check_recipe(file: EnsembleFile) -> tuple[EnsembleRecipe, tuple[Member, ...]]:
    """Return the ensemble's recipe and its members. Raises RecipeError with the faults of both."""
    problems: list[str] = []
    hint = ""
    how, members = EnsembleRecipe(), ()
    try:
        how = EnsembleRecipe(**file.how)
    except RecipeError as error:
        problems += [f"[ensemble]: {problem}" for problem in error.problems]
        hint = error.labels.get("fix", "")
    if how.folds == 1:
        problems.append("[ensemble]: folds = 1: give 2 or more, or 0 for one split")
    rated = file.schema.rated
    if rated and how.soup:
        problems.append("[ensemble]: soup averages weights of networks, and ratings have none in common")
    try:
        members = read_members(Sections(**file.sections), how, rated=rated)
    except RecipeError as error:
        problems += error.problems
        hint = hint or error.labels.get("fix", "")
    if rated and how.blend != "weights" and not how.folds:
        problems += [
            f"{member.name}: holds out no ratings, which blend = {how.blend!r} learns from: set folds = 5, "
            "or valid = 0.1"
            for member in members
            if not member.recipe.valid and ratings_recipe(member.recipe).split != "last"
        ]
    same = how.folds or how.split == "same" or file.schema.split or (file.schema.time and not rated)
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


def _holds_out(recipe: FactorRecipe | RatingNetworkRecipe) -> bool:
    return recipe.valid > 0 or recipe.split == "last"


def _most(jobs: str) -> int:
    if jobs == "auto":
        return 2
    if not jobs.isdecimal() or int(jobs) < 1:
        raise RecipeError(f"--jobs {jobs!r} is not a number", fix="give a number from 1 up, or auto")
    return int(jobs)


@dataclass
class _Ensemble:
    """A call of `train_ensemble`. most: how many members train at once."""

    file: EnsembleFile
    how: EnsembleRecipe
    members: tuple[Member, ...]
    folder: RunFolder
    most: int
    machine: Machine
    reading: Reading
    tell: Listener
    note: Log
    on: str | None = None
    trainings: dict[str, MemberStatus] = field(default_factory=dict)
    plans: Mapping[str, int | None] = field(default_factory=dict)
    budget_bytes: int = 0
    threads: int = 0
    data: str = ""
    started: float = field(default_factory=time.monotonic)
    time_limit: float | None = None

    def run(self, before: RunRecord) -> Finished:
        """Check, train and blend. before: the record that the folder holds."""
        # The check reports faults of the files; here their marks are only compared.
        self.data = data_mark(self.file, self.reading)
        for unit in expand(self.members, self.how):
            self.trainings[unit.name] = MemberStatus(unit, unit_mark(self.data, unit.recipe))
        units = before.values.get("units")
        known: Mapping[str, Mapping[str, str]] = units if isinstance(units, Mapping) else {}
        for training in self.trainings.values():
            self._recall(training, known.get(training.name, {}).get("mark", ""))
        gone = [name for name in known if name not in self.trainings]
        if gone:
            self.note(f"no longer in the recipe, kept but not blended: {', '.join(sorted(gone))}")
        waiting = [training for training in self.trainings.values() if training.status == "waiting"]
        if waiting:
            self._check()
        elif before.values.get("done") == self._done():
            self.note("nothing is left to do")
            # It may have been stopped between its last file and its page.
            return self._finished(before, new=not self.folder.file(PAGE).exists())
        self._describe()
        self._show()
        try:
            self._train(waiting)
        finally:
            self._describe()
        finished = self._finished_members()
        if not finished:
            raise TrainingError(
                "no member could be trained",
                problems=[f"{name}: {training.stage}" for name, training in self.trainings.items()],
                fix="mend what is named, and run the command again",
            )
        return self._blend(finished)

    # --- finished runs

    def _recall(self, training: MemberStatus, mark: str) -> None:
        """Take a finished run of this very training as it is; else report what has changed."""
        path = self._path(training)
        if not (path / "run.json").exists():
            return
        name = training.name
        try:
            _, record = read_run(path)
            changed = self._changes(training, path, record)
        except TenfoldError as error:
            self.note(f"{name} is trained again: {error.headline}")
            return
        if changed:
            self.note(f"{name} is trained again: {', '.join(changed)}")
        elif mark != training.mark:
            # Its own process compares the pictures themselves, and trains only if one has changed.
            self.note(f"{name}: the table or its pictures may have changed: they are compared")
        else:
            self.note(f"{name} has finished already")
            training.finish(record)

    def _changes(self, training: MemberStatus, path: Path, record: RunRecord) -> list[str]:
        """What its recipe has that the finished run's has not."""
        asked = training.unit.recipe
        if asked.of_ratings:
            # What follows from the table is in the run's recipe alone: only what is asked for is compared.
            made = dict(record.identity.get("recipe", {}))
            given = asked.model_dump(mode="json", exclude_unset=True)
            return differences({name: made.get(name) for name in given}, given)
        recipe = Recipe.from_toml(read_text(path, "recipe.toml"))
        wanted = resolved_recipe(network_recipe(asked), self.file.schema)
        wanted = with_defaults_for_rows(wanted, record.train_rows)
        return differences(recipe.model_dump(mode="json"), wanted.model_dump(mode="json"))

    def _path(self, training: MemberStatus) -> Path:
        return self.folder.path / "members" / training.name

    # --- before the first training

    def _check(self) -> None:
        request = CheckRequest(
            schema=self.file.schema,
            table=self.file.table,
            reading=self.reading,
            machine=self.machine,
            folds=self.how.folds,
            # On a cluster a member has its cores and memory for itself.
            plan=1 if self.on else self.most if self.most > 1 else 0,
            method=self.how.blend,
            members=[MemberRecipe(member.name, member.recipe) for member in self.members],
        )
        answer: CheckAnswer = ask(
            request.to_json(),
            self._log("check"),
            lambda name, event: self.tell(event) if isinstance(event, StageBegan) else None,
        )
        if answer["faults"]:
            raise refusal_of(answer["faults"])
        self.plans, self.budget_bytes = answer["plans"], answer["budget_bytes"]
        self.threads = answer["threads"]

    # --- training

    def _train(self, waiting: Sequence[MemberStatus]) -> None:
        left = list(waiting)
        if not left:
            return
        with tasks_on(self.on, self._heard) as tasks:
            while left or tasks.running:
                while left and self._fits(tasks, left[0]):
                    self._start(tasks, left.pop(0))
                ended = tasks.next_finished()
                if ended is not None:
                    self._ended(ended)
                self._describe()
                self._show()

    def _fits(self, children: Tasks, training: MemberStatus) -> bool:
        """Whether a further training may start now."""
        if not children.running:
            return True
        if self.on:
            return len(children.running) < self.most
        # Each plan is for an equal share of the memory; a member that needs more trains alone.
        units = [training.unit, *(self.trainings[name].unit for name in children.running)]
        return len(children.running) < self.most and all(self.plans.get(unit.member) for unit in units)

    def _start(self, children: Tasks, training: MemberStatus) -> None:
        machine = self.machine
        planned = self.plans.get(training.unit.member)
        if not self.on and self.most > 1 and planned:
            machine = replace(machine, budget=str(self.budget_bytes // self.most))
        request = FitRequest(
            schema=self.file.schema,
            table=self.file.table,
            reading=self.reading,
            machine=machine,
            recipe=training.unit.recipe,
            run=str(self._path(training)),
            time_limit=self._share(),
            page=self.on is None,
        )
        training.status, training.stage, training.began = "running", "starting", time.monotonic()
        needs = Needs(self.threads, planned or 0) if self.on else Needs()
        children.start(training.name, request.to_json(), self._log(training.name), needs)
        self._show()

    def _share(self) -> float | None:
        """Seconds that the next training may take: an equal share of what is left."""
        if self.time_limit is None:
            return None
        left = sum(own.status == "waiting" for own in self.trainings.values())
        seconds = self.started + self.time_limit - time.monotonic()
        return max(1.0, seconds * self.most / max(1, left))

    def _log(self, name: str) -> Path:
        return self.folder.file(LOGS) / f"{name}.txt"

    def _ended(self, child: Ended) -> None:
        training = self.trainings[child.name]
        failure = child.failure()
        if failure:
            training.status, training.stage, training.seconds = "failed", failure, child.seconds
            self.note(f"{child.name} failed: {failure}")
            return
        self._log(child.name).unlink(missing_ok=True)
        if self.on:
            # What a worker here does when it ends, and what names this machine's folders.
            finish_run(load_run(self._path(training)), log=self.note)
        training.finish(RunRecord(child.answer["summary"]))
        training.overhead = child.seconds - training.seconds

    def _heard(self, name: str, event: Event | None) -> None:
        training = self.trainings.get(name)
        if training is None and isinstance(event, StageBegan):
            self.tell(event)
        if training is not None:
            match event:
                case StageBegan():
                    training.stage = event.name
                case ImagesRead():
                    training.stage = f"reading pictures {event.done}/{event.total}"
                case RowsPredicted():
                    training.stage = f"{event.what} {event.done}/{event.total}"
                case StepEnded():
                    training.stage = f"epoch {event.epoch + 1}/{event.epochs}"
                    training.fraction = (event.epoch + event.step / event.steps) / event.epochs
                case EpochEnded():
                    training.scores, training.peak_bytes = none_to_nan(event.valid), event.peak_bytes
                case NoteAdded() if "node was lost" in event.text:
                    self.note(event.text)
                case TrainingChanged():
                    self.note(f"{name} is trained again: {', '.join(event.what)}")
        self._show()

    def _show(self) -> None:
        self.tell(MembersChanged([training.row() for training in self.trainings.values()]))

    def _recipe(self) -> dict[str, object]:
        """The recipe for the history: the ensemble's, and each member's differences from the defaults."""
        members = {}
        for member in self.members:
            defaults = type(member.recipe).model_validate({}).model_dump(mode="json")
            own = member.recipe.model_dump(mode="json")
            changed = {name: value for name, value in own.items() if value != defaults.get(name)}
            members[member.name] = {"weight": member.weight, **changed}
        return {**self.how.model_dump(mode="json"), "members": members}

    def _done(self) -> list[object]:
        """The recipe and the finished runs: a blend of the same is the same."""
        runs = [
            [name, own.status, file_digest(self._path(own) / "run.json")]
            for name, own in self.trainings.items()
            if own.is_finished
        ]
        return [self._recipe(), runs]

    # --- run.json, and the blend

    def _units(self, member: Member) -> list[MemberStatus]:
        return [training for training in self.trainings.values() if training.unit.member == member.name]

    def _finished_members(self) -> list[Member]:
        """Members with every fold finished: only they are blended."""
        return [member for member in self.members if all(own.is_finished for own in self._units(member))]

    def _describe(self, blend: BlendAnswer | None = None) -> RunRecord:
        """Write ``run.json`` as it is now, so that it is true at whatever moment the command stops."""
        finished = self._finished_members()
        scores = blend["scores"] if blend else {}
        members = []
        for member in self.members:
            units = self._units(member)
            errors = [training.stage for training in units if training.status == "failed"]
            paths = [self._path(training) for training in units] if member in finished else []
            members.append(
                describe_member(
                    self.folder,
                    member.name,
                    member.weight,
                    paths,
                    status="finished" if member in finished else "failed" if errors else "unfinished",
                    error=errors[0] if errors else "",
                    scores=scores.get(member.name, units[0].scores if len(units) == 1 else {}),
                    seconds=round(sum(training.seconds for training in units), 3),
                    overhead_seconds=round(max(training.overhead for training in units), 3),
                    peak_bytes=max(training.peak_bytes for training in units),
                )
            )
        for soup in blend["soups"] if blend else ():
            paths = [self.folder.file(path) for path in soup["runs"]]
            more = {"error": "", "overhead_seconds": 0.0}
            own = scores.get(soup["name"], {})
            members.append(
                describe_member(self.folder, soup["name"], soup["weight"], paths, scores=own, **more)
            )
        about = {
            "of": "ratings" if self.file.schema.rated else "network",
            "table": self.file.table,
            "reading": kept_options(self.file.table, self.reading.table),
            "recipe": self._recipe(),
            "identity": {"data": self.data},
            "members": members,
            # An unfinished member's folder may hold an older run of other data.
            "units": {
                name: {"mark": own.mark if own.is_finished else "", "status": own.status}
                for name, own in self.trainings.items()
            },
            **(blend["evaluation"] if blend else {}),
            "done": self._done() if blend else None,
            "method": self.how.blend,
            "seconds": round(time.monotonic() - self.started, 3),
            "peak_bytes": max(training.peak_bytes for training in self.trainings.values()),
        }
        if not blend:
            # Earlier held-out answers are not those of members that have changed.
            for name in HELD_OUT_FILES:
                self.folder.file(name).unlink(missing_ok=True)
            self.folder.write_text("schema.toml", self.file.schema.to_toml())
        return describe_bundle(self.folder, about)

    def _blend(self, finished: Sequence[Member]) -> Finished:
        request = BlendRequest(
            table=self.file.table,
            reading=self.reading,
            machine=self.machine,
            folder=str(self.folder.path),
            method=self.how.blend,
            seed=int(self.file.sections.get("recipe", {}).get("seed", 0)),
            soup=self.how.soup,
            members=[
                MemberRuns(member.name, member.weight, [f"members/{own.name}" for own in self._units(member)])
                for member in finished
            ],
        )
        self.tell(StageBegan("blending"))
        if self.file.schema.rated:
            return self._blend_ratings(request)
        answer: BlendAnswer = ask(request.to_json(), self._log("blend"), lambda name, event: None)
        return self._blended(answer)

    def _blended(self, answer: BlendAnswer) -> Finished:
        for note in answer["notes"]:
            self.note(note)
        self.folder.write_text("schema.toml", answer["schema"])
        return self._finished(self._describe(answer), new=True)

    def _blend_ratings(self, request: BlendRequest) -> Finished:
        """Blend recommenders in this process: nothing of them is on a device."""
        members = [
            RunMember(
                member.name, member.weight, tuple(load_run(self.folder.file(path)) for path in member.runs)
            )
            for member in request.members
        ]
        blend = ensemble_class("blend of ratings").blend
        made = blend(self.folder, members, method=request.method, seed=request.seed)
        answer = BlendAnswer(
            evaluation=made.record,
            scores={name: dict(scores) for name, scores in made.scores.items()},
            soups=[],
            schema=made.schema.to_toml(),
            notes=list(made.notes),
        )
        return self._blended(answer)

    def _finished(self, record: RunRecord, *, new: bool) -> Finished:
        """Open the finished ensemble. new: it lacks its line in the history and its page."""
        ensemble = open_run(self.folder.path, record)
        if new:
            finish_run(ensemble, log=self.note)
        failed = tuple(member.name for member in record.members if member.status != "finished")
        return Finished(self.folder.path, {**ensemble.summary, "failed": list(failed)}, failed)
