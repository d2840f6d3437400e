"""What a request may cost, and the guard that refuses a body that is too large or too slow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse

from tenfold.errors import RecipeError
from tenfold.remedies import option

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """max_body: bytes of a request.  max_pixels: of a picture.  max_rows: of a request, and of a batch.
    timeout: seconds for the body to come, and for its answer.  max_waiting: rows that may wait for an answer.
    delay: seconds that a request waits for others to be answered with it."""

    max_body: int = 32 << 20
    max_pixels: int = 50_000_000
    max_rows: int = 64
    timeout: float = 30.0
    max_waiting: int = 512
    delay: float = 0.005

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name == "delay" else 1
            if not least <= value < float("inf"):
                raise RecipeError(f"{option(name)} = {value}", fix=f"give {least} or more")


class BodyLimit:
    """Answers 413 to a body above the limit, before it is read, and 408 to one that does not come in time."""

    def __init__(self, app: App, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request; others (the server's start and end) pass."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if told.isdigit() and int(told) > self.limits.max_body:
            refusal = JSONResponse({"detail": self._too_large}, 413, {"connection": "close"})
            return await refusal(scope, receive, send)
        read, whole, until = 0, False, asyncio.get_running_loop().time() + self.limits.timeout

        async def limited() -> Message:
            nonlocal read, whole
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                told = f"the request did not come whole within {self.limits.timeout:g} s"
                raise HTTPException(408, told) from None
            if message["type"] == "http.disconnect" and not whole:
                raise HTTPException(499, "the request was not sent whole")  # for the figures: nobody reads it
            whole = whole or not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > self.limits.max_body:
                raise HTTPException(413, self._too_large)
            return message

        return await self.app(scope, limited, send)

    @property
    def _too_large(self) -> str:
        return f"the request is larger than {self.limits.max_body:,} bytes, the limit of this server"
