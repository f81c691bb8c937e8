"""A `map` over ranges by threads, for functions that leave Python's lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Made = TypeVar("Made")


def over_threads(
    n_threads: int,
) -> Callable[[Callable[[range], Made], Iterable[range]], Iterator[Made]]:
    """Gives results in order while so many of those that follow are made; no more are held."""

    def mapped(function: Callable[[range], Made], ranges: Iterable[range]) -> Iterator[Made]:
        todo = iter(ranges)
        with ThreadPoolExecutor(n_threads, "walk") as pool:
            ahead = deque(pool.submit(function, one) for one in islice(todo, n_threads + 1))
            while ahead:
                made = ahead.popleft().result()
                ahead.extend(pool.submit(function, one) for one in islice(todo, 1))
                yield made

    return mapped
