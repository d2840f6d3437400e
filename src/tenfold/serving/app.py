"""Runs over HTTP: FastAPI's routes, and what they answer to bad requests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

from fastapi import FastAPI, HTTPException, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tenfold.errors import MachineError, MemoryBudgetError, RatingsError, RunError, TenfoldError, did_you_mean
from tenfold.remedies import advice
from tenfold.serving.gather import Busy, Gatherer
from tenfold.serving.limits import App, BodyLimit, Limits, Message, Receive, Send
from tenfold.serving.page import serving_page
from tenfold.serving.served import Answered, Asked, Served, Upload

__all__ = ["make_app"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Rows(_Strict):
    """Rows of a table: column -> cell; a picture is a ``data:`` address."""

    rows: list[dict[str, str | int | float | bool | None]] = Field(min_length=1)


class Rating(_Strict):
    """A user's rating of an item; of events any number."""

    item: str = Field(min_length=1, max_length=1000)
    rating: float = 1.0


class Wishes(_Strict):
    """Whose list: of a user, or of a new one, after some ratings."""

    ratings: list[Rating] = Field(min_length=1, max_length=1000)
    user: str | None = Field(None, min_length=1, max_length=1000)
    n: int = Field(10, ge=1, le=1000)


class Answer(BaseModel):
    """Rows of an answer, and messages on them."""

    run: str
    rows: list[dict[str, Any]]
    notes: list[str] = []
    order: str = ""


class Refusal(BaseModel):
    """Why a request is refused: what is wrong, what was found, how to mend it."""

    detail: str
    problems: list[str] = []
    found: str = ""
    fix: str = ""


RunName = Annotated[
    str | None, Query(description="name of the run; may be left out where one alone can answer")
]
Count = Annotated[int, Query(ge=1, le=1000, description="length of the list")]
Text = Annotated[str, Query(max_length=200, description="words to search for")]
Id = Annotated[str, Path(max_length=1000)]

#: How the types of bodies begin that hold pictures.
PHOTOS = ("multipart/form-data", "image/", "application/octet-stream")
#: Requests that only runs of ratings and events answer.
LISTS = ("/recommend", "/similar", "/items", "/users", "/rated")
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The request cannot be read"},
    404: {"model": Refusal, "description": "There is no such run, user or item"},
    408: {"model": Refusal, "description": "The request did not come in time"},
    409: {"model": Refusal, "description": "The run's folder was replaced since the server opened it"},
    413: {"model": Refusal, "description": "The request is too large"},
    415: {"model": Refusal, "description": "The body is neither JSON, nor a form, nor a picture"},
    422: {"description": "What is asked cannot be answered"},
    429: {"model": Refusal, "description": "Too much waits for an answer; try again"},
}
#: What `POST /predict` reads, which FastAPI cannot tell from a signature.
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": Rows.model_json_schema()},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                "required": ["file"],
            }
        },
        "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
    },
}


class _Metrics:
    """What ``/metrics`` tells, in a registry of its own."""

    def __init__(self, rows_waiting: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        mine = self.registry
        self.requests = Counter("tenfold_requests", "Requests", ["path", "status"], registry=mine)
        self.seconds = Histogram(
            "tenfold_request_seconds", "Seconds from request to answer", ["path"], registry=mine
        )
        self.rows = Counter("tenfold_rows", "Rows answered", ["run"], registry=mine)
        sizes = (1, 2, 4, 8, 16, 32, 64, 128, 256)
        self.batches = Histogram(
            "tenfold_batch_rows", "Rows of a batch", ["run"], buckets=sizes, registry=mine
        )
        Gauge("tenfold_rows_waiting", "Rows that wait for an answer", registry=mine).set_function(
            rows_waiting
        )


class _Measured:
    """Counts requests by route and status, and their seconds; plain ASGI, which costs a request nothing."""

    def __init__(self, app: App, metrics: _Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, told)
        finally:
            # The route, and not the address: whoever asks must not make a series for each user.
            route = scope.get("route")
            path = getattr(route, "path_format", None) or getattr(route, "path", "other")
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)


class _Server:
    """The runs by name, each with its gatherer."""

    def __init__(self, served: Sequence[Served], limits: Limits) -> None:
        self.served = {one.name: one for one in served}
        self.limits = limits
        self.metrics = _Metrics(lambda: float(sum(one.rows for one in self.gatherers.values())))
        self.gatherers = {
            one.name: Gatherer[Asked, Answered](
                one.predict,
                limits,
                lanes=one.lanes,
                on_batch=self.metrics.batches.labels(one.name).observe,
            )
            for one in served
        }

    def pick(self, name: str | None, can: Callable[[Served], bool] = lambda one: True) -> Served:
        """The run of a name, or the only one that can answer."""
        if name is not None:
            if name not in self.served:
                refuse(404, f"there is no run {name!r}", fix=did_you_mean(name, self.served))
            return self.served[name]
        able = [one for one in self.served.values() if can(one)]
        if not able:
            refuse(404, "no run of this server can answer that", found=", ".join(self.served))
        if len(able) > 1:
            refuse(
                400, "which run is not said", found=", ".join(one.name for one in able), fix="add ?run=NAME"
            )
        return able[0]

    async def answer(self, served: Served, work: Awaitable[Answered]) -> Answer:
        """An answer as it is sent."""
        done = await work
        self.metrics.rows.labels(served.name).inc(len(done.rows))
        return Answer(run=served.name, rows=done.rows, notes=list(done.notes), order=done.order)

    async def list(self, served: Served, work: Callable[[], Answered]) -> Answer:
        """What `work` answers in a thread of the run."""
        return await self.answer(served, self.gatherers[served.name].run(work))


def refuse(status: int, detail: str, **more: str) -> NoReturn:
    """Answer with a refusal."""
    raise HTTPException(status, {"detail": detail, **{name: text for name, text in more.items() if text}})


def make_app(served: Sequence[Served], limits: Limits) -> FastAPI:
    """The application that answers for some runs."""
    server = _Server(served, limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for gatherer in server.gatherers.values():
            await gatherer.start()
        yield
        for gatherer in server.gatherers.values():
            await gatherer.stop()

    about = "Finished runs of tenfold. " + "; ".join(
        f"`{one.name}`: {one.run.schema.described}" for one in served
    )
    app = FastAPIOffline(
        title="tenfold",
        description=about,
        version=version("tenfold"),
        lifespan=lifespan,
        responses={status: told for status, told in _REFUSALS.items() if status in (408, 413)},
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, limits=limits)
    app.add_middleware(_Measured, metrics=server.metrics)
    _add_answers(app, server)
    _add_lists(app, server)
    _add_facts(app, server)
    _add_refusals(app, server)
    _name_runs(app, server)
    return app


def _name_runs(app: FastAPI, server: _Server) -> None:
    """Let the description list the runs of each request, and demand one where several can answer."""
    for path, told in app.openapi()["paths"].items():
        can = _lists if path.startswith(LISTS) else _sees if path == "/alike" else None
        able = [name for name, one in server.served.items() if can is None or can(one)]
        for request in told.values():
            for parameter in request.get("parameters", ()):
                if parameter["name"] == "run":
                    parameter["schema"] = {"type": "string", "enum": able or [*server.served]}
                    parameter["required"] = len(able) > 1


def _some(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: _REFUSALS[status] for status in statuses}


def _add_answers(app: FastAPI, server: _Server) -> None:
    @app.post(
        "/predict",
        response_model=Answer,
        responses=_some(400, 404, 409, 415, 422, 429),
        openapi_extra={"requestBody": _BODY},
    )
    async def predict(request: Request, run: RunName = None) -> Answer:
        """Answer rows of a table, as JSON, or pictures, as files of a form or as the body itself."""
        # Rows of JSON could be meant for any run; a photo only for one that takes photos, if there is one.
        photo = _kind(request).startswith(PHOTOS) and any(map(_sees, server.served.values()))
        served = server.pick(run, *([_sees] if photo else []))
        return await server.answer(
            served, server.gatherers[served.name].ask(await _read_rows(request, served))
        )

    @app.post(
        "/alike",
        response_model=Answer,
        responses=_some(400, 404, 409, 415, 422, 429),
        openapi_extra={"requestBody": _BODY},
    )
    async def alike(request: Request, n: Count = 6, run: RunName = None) -> Answer:
        """The training photos most alike to a photo, where the server was started with ``--alike``."""
        served = server.pick(run, _sees)
        asked = await _read_rows(request, served)
        return await server.list(served, lambda: served.alike(asked, n))


def _lists(one: Served) -> bool:
    return one.run.schema.rated


def _sees(one: Served) -> bool:
    return bool(one.run.schema.images)


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read_rows(request: Request, served: Served) -> Asked:
    """What a body asks: JSON, a form, or a picture."""
    kind = _kind(request)
    if kind == "application/json":
        try:
            rows = Rows.model_validate_json(await request.body()).rows
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_url=False, include_input=False)) from None
        return served.asked(rows)
    if kind == "multipart/form-data":
        return served.uploads(*await _read_form(request, served.limits))
    if kind.startswith(PHOTOS):
        return served.uploads([("", Upload("the picture", await request.body()))], {})
    refuse(415, f"a body of the type {kind[:80]!r} is not read", fix="send JSON, a form or a picture")


async def _read_form(request: Request, limits: Limits) -> tuple[list[tuple[str, Upload]], dict[str, str]]:
    """The pictures and the other fields of a form."""
    async with request.form(
        max_files=limits.max_rows, max_fields=limits.max_rows, max_part_size=limits.max_body
    ) as form:
        files: list[tuple[str, Upload]] = []
        cells: dict[str, str] = {}
        for name, value in form.multi_items():
            if isinstance(value, str):
                cells[name] = value
            else:
                files.append((name, Upload(value.filename or "the picture", await value.read())))
    if not files:
        refuse(422, "there is no picture in the form", fix="send its file, as of curl -F file=@photo.jpg")
    return files, cells


def _add_lists(app: FastAPI, server: _Server) -> None:
    refusals = _some(404, 409, 422, 429)

    @app.get("/recommend/{user:path}", response_model=Answer, responses=refusals)
    async def recommend(user: Id, n: Count = 10, run: RunName = None) -> Answer:
        """The items that rank highest for a user, with reasons where the run can tell them."""
        served = server.pick(run, _lists)
        return await server.list(served, lambda: served.recommend(user, n))

    @app.post("/recommend", response_model=Answer, responses={**refusals, 400: _REFUSALS[400]})
    async def recommend_after(wishes: Wishes, run: RunName = None) -> Answer:
        """The list of a new user, or of a known one, after some ratings. The run itself learns nothing."""
        served = server.pick(run, _lists)
        ratings = [(one.item, one.rating) for one in wishes.ratings]
        return await server.list(served, lambda: served.recommend(wishes.user, wishes.n, ratings))

    @app.get("/similar/{item:path}", response_model=Answer, responses=refusals)
    async def similar(item: Id, n: Count = 10, run: RunName = None) -> Answer:
        """The items nearest to an item, by its id or title."""
        served = server.pick(run, _lists)
        try:
            return await server.list(served, lambda: served.similar(item, n))
        except RatingsError as error:
            raise HTTPException(404, _refusal(error)) from None

    async def found(run: str | None, find: Callable[[Served], list[dict[str, object]]]) -> Answer:
        served = server.pick(run, _lists)
        return await server.list(served, lambda: Answered(find(served)))

    @app.get("/users", response_model=Answer, responses=refusals)
    async def users(text: Text = "", n: Count = 10, run: RunName = None) -> Answer:
        """Users whose ids have a text."""
        return await found(run, lambda served: served.users(text, n))

    @app.get("/items", response_model=Answer, responses=refusals)
    async def items(text: Text = "", n: Count = 10, run: RunName = None) -> Answer:
        """Items whose titles have words that begin so, the most rated first."""
        return await found(run, lambda served: served.items(text, n))

    @app.get("/rated/{user:path}", response_model=Answer, responses=refusals)
    async def rated(user: Id, n: Count = 10, run: RunName = None) -> Answer:
        """What a user has rated, the highest ratings first."""
        return await found(run, lambda served: served.rated(user, n))


def _add_facts(app: FastAPI, server: _Server) -> None:
    page = serving_page()

    @app.get("/", include_in_schema=False)
    async def show() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/runs")
    async def runs() -> list[dict[str, Any]]:
        """The runs of this server, and what they take and answer."""
        return [one.about() for one in server.served.values()]

    @app.get("/health", responses={503: {"description": "The folder of a run was replaced: start again"}})
    async def health() -> JSONResponse:
        """Whether all runs answer."""
        states = {name: "replaced" if one.replaced else "ok" for name, one in server.served.items()}
        good = all(state == "ok" for state in states.values())
        return JSONResponse({"status": "ok" if good else "replaced", "runs": states}, 200 if good else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Requests, seconds, rows and batches as Prometheus reads them."""
        return PlainTextResponse(
            generate_latest(server.metrics.registry), media_type="text/plain; version=0.0.4"
        )


def _refusal(error: TenfoldError) -> dict[str, Any]:
    # Who asks a server has no command line: what its options would mend is left out.
    labels = {name: advice(text) for name, text in error.labels.items() if name in ("found", "fix")}
    problems = {"problems": list(error.problems)} if error.problems else {}
    return {"detail": error.headline, **problems, **labels}


def _add_refusals(app: FastAPI, server: _Server) -> None:
    def sent(status: int, content: Mapping[str, object], **headers: str) -> JSONResponse:
        return JSONResponse(dict(content), status, headers)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        detail: Any = error.detail
        content = detail if isinstance(detail, dict) else {"detail": str(detail)}
        return sent(error.status_code, content, **(error.headers or {}))

    @app.exception_handler(TenfoldError)
    async def wrong(_: Request, error: TenfoldError) -> JSONResponse:
        if isinstance(error, MachineError | MemoryBudgetError):
            return sent(503, _refusal(error))
        return sent(
            409 if isinstance(error, RunError) and "replaced" in error.headline else 422, _refusal(error)
        )

    @app.exception_handler(Busy)
    async def busy(_: Request, error: Busy) -> JSONResponse:
        return sent(429, {"detail": str(error), "fix": "try again"}, **{"Retry-After": "1"})
