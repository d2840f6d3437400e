"""Questions that wait at the same time are answered together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pytest

from tenfold.serving.gather import Busy, Gatherer
from tenfold.serving.limits import Limits


@dataclass(frozen=True)
class Number:
    value: int
    key: Hashable = "one"
    size: int = 1


def squares(asked: Sequence[Number]) -> list[int | Exception]:
    return [one.value**2 if one.value >= 0 else ValueError(str(one.value)) for one in asked]


def test_those_who_wait_are_answered_together_and_by_key() -> None:
    batches: list[int] = []

    async def main() -> list[object]:
        gatherer = Gatherer[Number, int](squares, Limits(max_rows=4, delay=0.05), on_batch=batches.append)
        await gatherer.start()
        asked = [Number(value, key="odd" if value % 2 else "even") for value in range(-1, 9)]
        answers = await asyncio.gather(*map(gatherer.ask, asked), return_exceptions=True)
        await gatherer.stop()
        return answers

    error, *answers = asyncio.run(main())
    assert answers == [value**2 for value in range(9)]
    assert isinstance(error, ValueError)
    assert sorted(batches) == [1, 1, 4, 4]


def test_a_lane_that_fails_tells_it_and_goes_on() -> None:
    def fails(asked: Sequence[Number]) -> list[int | Exception]:
        if asked[0].value == 0:
            raise ZeroDivisionError
        return squares(asked)

    async def main() -> tuple[object, int]:
        gatherer = Gatherer[Number, int](fails, Limits(delay=0))
        await gatherer.start()
        [error] = await asyncio.gather(gatherer.ask(Number(0)), return_exceptions=True)
        after = await gatherer.ask(Number(3))
        await gatherer.stop()
        return error, after

    error, after = asyncio.run(main())
    assert isinstance(error, ZeroDivisionError) and after == 9


def test_too_much_is_refused_and_late_answers_are_not_waited_for() -> None:
    go = threading.Event()

    def slow(asked: Sequence[Number]) -> list[int | Exception]:
        go.wait(10)
        return squares(asked)

    async def main() -> list[object]:
        gatherer = Gatherer[Number, int](slow, Limits(max_rows=2, max_waiting=2, timeout=1, delay=0))
        await gatherer.start()
        first = asyncio.create_task(gatherer.ask(Number(1)))
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(gatherer.ask(Number(2))) for _ in range(5)]
        told = await asyncio.gather(first, *others, return_exceptions=True)
        go.set()
        told.append(await gatherer.ask(Number(4)))
        assert gatherer.rows == 0
        await gatherer.stop()
        return told

    told = asyncio.run(main())
    assert all(isinstance(one, Busy) for one in told[:-1]) and told[-1] == 16
    assert sum("wait for an answer already" in str(one) for one in told) == 3


@pytest.mark.parametrize("lanes", [1, 2])
def test_every_lane_is_used(lanes: int) -> None:
    together = threading.Barrier(lanes)

    def meets(asked: Sequence[Number]) -> list[int | Exception]:
        together.wait(10)
        return squares(asked)

    async def main() -> list[int]:
        gatherer = Gatherer[Number, int](meets, Limits(max_rows=1, delay=0), lanes=lanes)
        await gatherer.start()
        answers = await asyncio.gather(*(gatherer.ask(Number(value)) for value in range(lanes)))
        await gatherer.stop()
        return answers

    assert asyncio.run(main()) == [value**2 for value in range(lanes)]


def test_each_lane_takes_its_share_of_what_waits() -> None:
    together, batches = threading.Barrier(2), list[int]()

    def meets(asked: Sequence[Number]) -> list[int | Exception]:
        together.wait(10)
        return squares(asked)

    async def main() -> None:
        gatherer = Gatherer[Number, int](meets, Limits(delay=0.05), lanes=2, on_batch=batches.append)
        await gatherer.start()
        await asyncio.gather(*(gatherer.ask(Number(value)) for value in range(9)))
        await gatherer.stop()

    asyncio.run(main())
    # The rest is divided again: nobody waits for a lane that is done.
    assert batches[:2] == [5, 2] and sum(batches) == 9
