"""Tasks on the nodes of a Ray cluster, which answer as worker processes here do: the only room of Ray.

A task is a worker process on its node. Files that requests name are sent to a node once; a task whose node is
lost runs again on another.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tenfold.ensembles.children import Children, Needs, Tell
from tenfold.ensembles.shipping import Parcel, chunks_of, listed, moved, packed_run, place_run, unpack
from tenfold.errors import DependencyError, RunError, TenfoldError
from tenfold.events import Event, NoteAdded, StageBegan, event_of
from tenfold.runs.described import package_versions

__all__ = ["RayTask", "RayTasks"]

#: Times that a task runs again after a loss of its node.
RETRIES = 5
#: Seconds between two looks at what the tasks say.
OFTEN = 0.3


@dataclass
class RayTask:
    """A task, and its answer: see `children.Child`."""

    name: str
    request: Mapping[str, object]
    needs: Needs
    started: float = field(default_factory=time.monotonic)
    answer: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    node: str = ""

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def failure(self) -> str:
        """Why it did not finish, in a line; "" if it did."""
        return self.why


class Mailbox:
    """What running tasks say, kept on the head node until it is taken."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, dict[str, object]]] = []

    def put(self, name: str, line: dict[str, object]) -> None:
        """Add a line of a task."""
        self._lines.append((name, line))

    def take(self) -> list[tuple[str, dict[str, object]]]:
        """The lines since the last time."""
        lines, self._lines = self._lines, []
        return lines


class RayTasks:
    """The running tasks. Leaving the block ends them.

    address: ``local`` for a cluster of this machine alone, whose tasks read its files as they are; ``auto``,
    ``HOST:PORT`` or ``ray://HOST:PORT`` for one that runs.
    """

    def __init__(self, address: str, tell: Tell) -> None:
        self.running: dict[str, RayTask] = {}
        self._address, self._tell = address, tell
        self._token = secrets.token_hex(8)
        self._refs: dict[Any, RayTask] = {}
        self._parcels: dict[str, tuple[Parcel, list[Any]]] = {}
        self._owns = False

    def __enter__(self) -> RayTasks:
        ray = _ray()
        if not ray.is_initialized():
            self._owns = True
            _connect(self._address)
        self._mailbox = ray.remote(Mailbox).options(
            num_cpus=0, resources={"node:__internal_head__": 1e-3}
        ).remote()  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._clean()
        if self._owns:
            _ray().shutdown()

    def start(self, name: str, request: Mapping[str, object], errors: Path, needs: Needs) -> RayTask:
        """Start a task on a request to train. errors: not used: the answer has the last lines."""
        ray = _ray()
        task = RayTask(name, request, needs)
        self.running[name] = task
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        most = max((node.get("CPU", 0) for node in nodes), default=0)
        memory = max((node.get("memory", 0) for node in nodes), default=0)
        gpus = max((node.get("GPU", 0) for node in nodes), default=0)
        machine = request.get("machine")
        device = str(machine.get("device", "auto")) if isinstance(machine, Mapping) else "auto"
        if device.startswith("cuda") and not gpus:
            task.why = "it asks for a GPU, and no node has one"
        work = ray.remote(_work).options(
            # The arithmetic is cut into the same threads everywhere; a smaller node shares its cores.
            num_cpus=max(1, min(needs.threads, int(most))),
            # One that needs more than any node has takes a node's memory for itself.
            memory=min(needs.memory_bytes, int(memory)) or None,
            num_gpus=1 if gpus and device != "cpu" else 0,
            max_retries=RETRIES,
        )
        try:
            parcels = [] if self._address == "local" else self._sent(request)
        except (TenfoldError, OSError) as error:
            task.why, parcels = str(getattr(error, "headline", error)), []
        if task.why:
            # It ends with the next look.
            self._refs[ray.put(None)] = task
            return task
        text, about = json.dumps(request), (self._token, package_versions(), needs.threads)
        self._refs[work.remote(name, text, parcels, about, self._mailbox)] = task
        return task

    def _sent(self, request: Mapping[str, object]) -> list[tuple[Parcel, list[Any]]]:
        """The parcels of a request; each path is sent once for all requests."""
        ray, found = _ray(), list[tuple[Parcel, list[Any]]]()

        def send(path: str) -> str:
            if path not in self._parcels:
                self._tell("", StageBegan(f"sending {path}"))
                parcel = listed(len(self._parcels), path)
                self._parcels[path] = parcel, [ray.put(chunk) for chunk in chunks_of(parcel)]
            found.append(self._parcels[path])
            return path

        moved(request, send)
        return found

    def next_finished(self) -> RayTask | None:
        """Wait until a task has ended, and pass on what all say; None where none runs any more."""
        ray = _ray()
        while self.running:
            ended, _ = ray.wait(list(self._refs), num_returns=1, timeout=OFTEN)
            # A task waits until its last line is here, so that all of them come before its end.
            for name, line in ray.get(self._mailbox.take.remote()):
                self._hear(name, line)
            for ref in ended:
                task = self._refs.pop(ref, None)
                if task is not None and self.running.pop(task.name, None) is not None:
                    self._end(task, ref)
                    return task
            if not ended:
                self._tell("", None)
        return None

    def _hear(self, name: str, line: dict[str, object]) -> None:
        task = self.running.get(name)
        if task is None:
            return
        if line.get("event") != "node":
            self._tell(name, event_of(line))
        elif task.node:
            self._tell(name, NoteAdded(f"{name}: its node was lost, and it runs again on another"))
        task.node = str(line.get("node", task.node))

    def _end(self, task: RayTask, ref: Any) -> None:
        if task.why:
            return
        import ray.exceptions

        try:
            result: Any = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            task.why = getattr(cause, "headline", str(cause).strip().splitlines()[-1])
            return
        except ray.exceptions.RayError as error:
            task.why = str(error).strip().splitlines()[0]
            return
        task.answer, task.why = result["answer"], result["failure"]
        if result["files"]:
            place_run(result["files"], Path(str(task.request["run"])), result["renamed"])

    def cancel(self, name: str) -> None:
        """End a task whose answer is of no use any more."""
        task = self.running.pop(name, None)
        for ref in [ref for ref, own in self._refs.items() if own is task]:
            del self._refs[ref]
            with suppress(Exception):
                _ray().cancel(ref, recursive=True)

    def stop(self) -> None:
        """End all tasks."""
        for name in list(self.running):
            self.cancel(name)

    def _clean(self) -> None:
        """Remove what was sent to the nodes."""
        import ray.exceptions
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        refs = []
        for node in ray.nodes():
            if node["Alive"]:
                where = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
                clean = ray.remote(_clean).options(num_cpus=0, scheduling_strategy=where)
                refs.append(clean.remote(self._token))
        with suppress(ray.exceptions.RayError):
            ray.wait(refs, num_returns=len(refs), timeout=10)


def _ray() -> Any:
    # Ray's usage reports leave the machine unless they are asked for.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise DependencyError(
            "--on needs Ray, which is not installed", fix="pip install 'tenfold[ray]', here and on every node"
        ) from None
    return ray


def _connect(address: str) -> None:
    ray = _ray()
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == "local":
            ray.init(include_dashboard=False, **how)
        else:
            ray.init(address=address, **how)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, ImportError) as error:
        raise DependencyError(
            f"no Ray cluster answers at {address!r}",
            found=str(error).strip().splitlines()[0],
            fix="start one as Ray's pages say, or give --on local, auto, HOST:PORT or ray://HOST:10001"
            + ("; one that asks for its token wants RAY_AUTH_MODE=token here" if "://" in address else ""),
        ) from None


# --- on a node -------------------------------------------------------------------------------------


def _root(token: str) -> Path:
    """This node's folder for what a command sends."""
    node = _ray().get_runtime_context().get_node_id()
    return Path(tempfile.gettempdir()) / f"tenfold-{token}-{node[:16]}"


def _clean(token: str) -> None:
    shutil.rmtree(_root(token), ignore_errors=True)


def _work(
    name: str,
    text: str,
    parcels: Sequence[tuple[Parcel, Sequence[Any]]],
    about: tuple[str, Mapping[str, str], int],
    mailbox: Any,
) -> dict[str, object]:
    """Run a worker process on this node; its answer, and the files of its run."""
    ray = _ray()
    token, versions, threads = about
    put = mailbox.put.remote
    ray.get(put(name, {"event": "node", "node": ray.get_runtime_context().get_node_id()}))
    own = package_versions()
    other = [f"{what} {own.get(what)}, here {version}" for what, version in versions.items()
             if own.get(what) != version]  # fmt: skip
    if other:
        raise RunError(f"a node has other versions: {', '.join(other)}", fix="install the same on every node")
    root = _root(token)
    root.mkdir(mode=0o700, exist_ok=True)
    asked: dict[str, Any] = json.loads(text)
    places = {parcel.path: str(parcel.at(root)) for parcel, _ in parcels}
    for parcel, refs in parcels:
        unpack(parcel, (ray.get(ref) for ref in refs), root)
    if places:
        asked = cast(dict[str, Any], moved(asked, lambda path: places[path]))
    run = root / secrets.token_hex(4) / os.path.basename(asked["run"])
    renamed = {str(run): asked["run"], **{there: path for path, there in places.items()}}
    asked["run"] = str(run)

    def tell(_: str, event: Event | None) -> None:
        if event is not None:
            put(name, event.to_dict())

    try:
        with Children(tell) as children:
            child = children.start(name, asked, root / f"{run.parent.name}.txt", Needs(threads=threads))
            children.next_finished()
        failure = child.failure()
        files = {} if failure else packed_run(run)
    finally:
        shutil.rmtree(run.parent, ignore_errors=True)
    # Only factors that are scored leave no run.
    if not (failure or files or asked["recipe"].get("of ratings") == "factors"):
        raise RunError("the files of the run are gone", fix="run the command again")
    # The last line is there before the answer is.
    ray.get(put(name, {"event": "end"}))
    return {"answer": child.answer, "failure": failure, "files": files, "renamed": renamed}
