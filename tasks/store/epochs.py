"""The lease of a table on an object store: objects with growing numbers.

The highest number has the lease. Its holder writes the object anew, three times in `TTL_S`, and
once more when it is done. Whoever sees no change for `TTL_S`, by a clock of its own that only goes
forward, may create the next number, which one alone can do. A holder that was away for so long
finds a higher number than its own, and stops.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from schemas.lease import Epoch
from tasks.errors import Interrupted, LeaseLost, StoreError
from tasks.store.holder import me, refusal, tell_waiting
from tasks.store.layout import bucket_of
from tasks.store.object_files import ObjectFiles, connect

TTL_S = 30.0
BEATS = 3
LOOKS = 30
"""How often in that time a holder renews its lease, and others look at it."""
ENDING = ".json"


@dataclass(frozen=True, slots=True)
class _Epochs:
    """The objects of one table."""

    files: ObjectFiles
    folder: str
    table: str

    def tokens(self) -> list[int]:
        """Their numbers, ascending."""
        names = (name.removesuffix(ENDING) for name in self.files.names(self.folder))
        return [int(name) for name in names if name.isdecimal()]

    def path(self, token: int) -> str:
        return f"{self.folder}/{token:012d}{ENDING}"

    def read(self, token: int) -> bytes | None:
        return self.files.read(self.path(token))

    def create(self, token: int) -> Epoch | None:
        """The object, if this call made it; and proves that no other call can make it again."""
        mine, other = (Epoch(holder=me(token), id=uuid.uuid4().hex) for _ in range(2))
        if not self.files.create(self.path(token), mine.model_dump_json()):
            return None
        if self.files.create(self.path(token), other.model_dump_json()):
            raise StoreError(
                f"{self.folder} cannot keep a second writer out: what stores it lets an object be "
                "made that is there already (it does not know If-None-Match), so two runs could "
                "overwrite each other; give another --store"
            )
        return mine


class Reign:
    """A lease that is held."""

    def __init__(self, epochs: _Epochs, epoch: Epoch, renewed: float) -> None:
        """Of an object that was just made; `renewed` is a moment before that."""
        self._epochs, self._epoch, self._renewed = epochs, epoch, renewed
        self._writing, self._over = threading.Lock(), threading.Event()
        self._lost: LeaseLost | None = None

    @property
    def token(self) -> int:
        """The number of its object."""
        return self._epoch.holder.token

    def check(self) -> None:
        """Renews it, too; StoreError where the store does not answer."""
        with self._writing:
            self.raise_if_lost()
            now = time.monotonic()
            if (newest := max(self._epochs.tokens(), default=0)) > self.token:
                by = _parse(self._epochs.read(newest))
                self._lost = self._loss(f"was taken over by {by.holder if by else 'another one'}")
                raise self._lost
            self._write(beat=self._epoch.beat + 1)
            self._renewed = now

    def raise_if_lost(self) -> None:
        """Raises LeaseLost if that is known already."""
        if self._lost is not None:
            raise self._lost

    def keep(self, lost: threading.Event | None) -> None:
        """Renews it until it is ended, or lost."""
        while not self._over.wait(TTL_S / BEATS):
            try:
                self.check()
            except LeaseLost:
                break
            except StoreError as error:
                if time.monotonic() - self._renewed >= TTL_S:
                    self._lost = self._loss(f"may be another one's by now: {error}")
                    break
        if self._lost is not None and lost is not None:
            lost.set()

    def end(self) -> None:
        """Gives it back; if nobody answers, the next holder has to wait."""
        self._over.set()
        with self._writing:
            if self._lost is None:
                with suppress(StoreError):
                    self._write(ended=True)

    def _write(self, **changes: object) -> None:
        self._epoch = self._epoch.model_copy(update=changes)
        self._epochs.files.write(self._epochs.path(self.token), self._epoch.model_dump_json())

    def _loss(self, how: str) -> LeaseLost:
        return LeaseLost(
            f"table {self._epochs.table!r} {how}: this process had not renewed its lease for "
            f"{TTL_S:g} s, and stops before its commit; run again, what was written is kept"
        )


@contextmanager
def hold(
    folder: str, table: str, wait_s: float, lost: threading.Event | None = None
) -> Iterator[Reign]:
    """Holds a table as `tasks.store.lease.lease` says.

    What is Interrupted since the lease was lost ends in LeaseLost.
    """
    epochs = _Epochs(connect(bucket_of(folder)), folder, table)
    reign = _take(epochs, time.monotonic() + wait_s)
    threading.Thread(target=reign.keep, args=(lost,), name=f"lease of {table}", daemon=True).start()
    try:
        yield reign
    except Interrupted:
        reign.raise_if_lost()
        raise
    finally:
        reign.end()


def _take(epochs: _Epochs, until: float) -> Reign:
    """The next number, as soon as nobody has the highest one any longer.

    However short the time to wait is, a holder that is silent is watched to the end of it: it may
    be dead, and nobody would ever find out.
    """
    seen: tuple[int, bytes | None] | None = None
    since, alive = 0.0, False
    while True:
        now, tokens = time.monotonic(), epochs.tokens()
        newest = max(tokens, default=0)
        text = epochs.read(newest) if newest else None
        epoch = _parse(text)
        if (newest, text) != seen:
            if newest and seen is None and not (epoch and epoch.ended):
                tell_waiting(epochs.table, epoch.holder if epoch else None)
            alive, seen, since = seen is not None, (newest, text), now
        if not newest or (epoch and epoch.ended) or now - since >= TTL_S:
            mine = epochs.create(newest + 1)
            if mine is not None and max(epochs.tokens()) == newest + 1:
                epochs.files.remove(epochs.path(token) for token in tokens)
                return Reign(epochs, mine, now)
            if mine is not None:  # others came and went since we looked, and removed this number
                epochs.files.remove([epochs.path(newest + 1)])
        elif alive and now >= until:
            raise refusal(epochs.table, epoch.holder if epoch else None)
        else:
            time.sleep(TTL_S / LOOKS)


def _parse(text: bytes | None) -> Epoch | None:
    """What an object says; None if it is gone, or of a newer vectorline."""
    try:
        return Epoch.model_validate_json(text or b"")
    except ValueError:
        return None
