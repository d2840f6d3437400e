"""Requests that come at the same time are answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tenfold.serving.limits import Limits


class Question(Protocol):
    """What a request asks. Those of an equal key may be answered together."""

    @property
    def key(self) -> Hashable:
        """Equal for what may be answered together."""
        ...

    @property
    def size(self) -> int:
        """How many rows it has."""
        ...


Asked = TypeVar("Asked", bound=Question)
Answer = TypeVar("Answer")


class Busy(Exception):
    """Too much waits already, or an answer was not there in time. The argument is a message."""


@dataclass(eq=False)
class _Waiting(Generic[Asked, Answer]):
    question: Asked
    future: asyncio.Future[Answer]
    since: float


class Gatherer(Generic[Asked, Answer]):
    """Answers questions in batches: those that wait when a lane is free, at most `Limits.max_rows` rows.

    answer: called in a thread with questions of one key; returns an answer, or an error, to each.
    lanes: batches at the same time; each takes its share of what waits.
    on_batch: told the rows of each batch.
    A question waits for others for `Limits.delay` seconds at most while a lane is free.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Answer | Exception]],
        limits: Limits,
        *,
        lanes: int = 1,
        on_batch: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._answer, self._limits, self._on_batch = answer, limits, on_batch
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="tenfold-answer")
        self._waiting: list[_Waiting[Asked, Answer]] = []
        self._lanes = lanes
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def rows(self) -> int:
        """Rows that wait now."""
        return sum(waiting.question.size for waiting in self._waiting if not waiting.future.done())

    async def start(self) -> None:
        """Begin to answer, in the running loop."""
        self._news = asyncio.Event()
        self._tasks = [asyncio.create_task(self._lane()) for _ in range(self._lanes)]

    async def stop(self) -> None:
        """Stop answering; what is being answered is finished first."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown)

    async def ask(self, question: Asked) -> Answer:
        """The answer to a question. Raises the error that it got, or `Busy`."""
        rows = self.rows
        if rows and rows + question.size > self._limits.max_waiting:
            raise Busy(f"{rows} rows wait for an answer already")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(question, loop.create_future(), loop.time())
        self._waiting.append(waiting)
        self._news.set()
        return await self._in_time(waiting.future)

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """What `work` returns, called in a thread of a lane."""
        return await self._in_time(asyncio.get_running_loop().run_in_executor(self._pool, work))

    async def _in_time(self, future: asyncio.Future[Answer]) -> Answer:
        try:
            return await asyncio.wait_for(future, self._limits.timeout)
        except TimeoutError:
            raise Busy(f"no answer within {self._limits.timeout:g} s") from None

    async def _lane(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
            left = self._waiting[0].since + self._limits.delay - loop.time()
            if left > 0 and self.rows < self._limits.max_rows:
                await asyncio.sleep(left)
            batch = self._take()
            if not batch:
                continue
            self._on_batch(sum(waiting.question.size for waiting in batch))
            questions = [waiting.question for waiting in batch]
            results: Sequence[Answer | Exception]
            try:
                results = await loop.run_in_executor(self._pool, self._answer, questions)
            except Exception as error:  # noqa: BLE001 - whoever asked is told, and the lane goes on
                results = [error] * len(batch)
            for waiting, result in zip(batch, results, strict=True):
                if waiting.future.done():
                    continue
                if isinstance(result, Exception):
                    waiting.future.set_exception(result)
                else:
                    waiting.future.set_result(result)

    def _take(self) -> list[_Waiting[Asked, Answer]]:
        """Take the first question, and those of its key that follow, up to a lane's share of a full batch."""
        self._waiting = [waiting for waiting in self._waiting if not waiting.future.done()]
        taken: list[_Waiting[Asked, Answer]] = []
        rows = 0
        # All that waits in one lane would leave the others idle until whoever got an answer asks again.
        most = min(self._limits.max_rows, -(-self.rows // self._lanes))
        for waiting in self._waiting:
            same = not taken or waiting.question.key == taken[0].question.key
            if same and (not taken or rows + waiting.question.size <= most):
                taken.append(waiting)
                rows += waiting.question.size
        self._waiting = [waiting for waiting in self._waiting if waiting not in taken]
        return taken
