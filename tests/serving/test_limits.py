"""Limits have sense, and a body is refused before it is read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI, Request

from tenfold.errors import RecipeError
from tenfold.serving.limits import BodyLimit, Limits


@pytest.mark.parametrize(("name", "value"), [("max_rows", 0), ("timeout", float("nan")), ("delay", -1)])
def test_limits_without_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(RecipeError, match=name):
        Limits(**{name: value})


def send(parts: list[bytes | None], headers: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    """The status of a body that comes in parts, None where it stops coming; and how many were taken."""
    app = FastAPI()

    @app.post("/")
    async def read(request: Request) -> int:
        return len(await request.body())

    guarded = BodyLimit(app, Limits(max_body=10, timeout=1))
    statuses: list[int] = []
    left = list(parts)

    async def receive() -> dict[str, Any]:
        part = left.pop(0)
        if part is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def told(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}
    asyncio.run(
        guarded({**scope, "http_version": "1.1", "server": ("", 80), "client": ("", 1)}, receive, told)
    )
    return statuses[0], len(parts) - len(left)


def test_a_body_too_large_or_too_slow_is_refused() -> None:
    assert send([b"12345", b"12345"], []) == (200, 2)
    assert send([b"12345", b"123456", b"more"], []) == (413, 2)
    assert send([b"12345678901"], [(b"content-length", b"11")]) == (413, 0)
    assert send([b"12345", None], []) == (408, 2)
