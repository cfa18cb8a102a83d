"""Work done together, none of which outlives the rest of it."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Value = TypeVar("Value")


async def gathered(work: Iterable[Coroutine[Any, Any, Value]]) -> list[Value]:
    """What each returns, in order; where one fails, the others are ended before its error goes on.

    `asyncio.gather` alone lets them go on, unseen, and a `TaskGroup` hides the error in a group.
    """
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
