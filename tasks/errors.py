"""The tree of exceptions.

    VectorlineError
      ConfigError                what the user wrote is wrong; exit 2
        ColumnMissing            a column that no record has, or none has yet
      SourceError                a source cannot be listed or read
        SourceChanged            a file changed while it was read (transient)
        SourceUnavailable        a time-out or a 5xx of where the source lives (transient)
      EncoderError               weights, canaries or the encoder itself
        UnknownModel             no such model, revision or file of weights; exit 2
        EncoderChanged           what this machine has under a table's name is another encoder
      StoreError                 tables, receipts, catalog, disk
        LeaseHeld                another writer holds the table
        LeaseLost                another writer took the table over
        CommitConflict           another commit from the same base came first (transient)
      SinkError                  a store downstream does not do what was asked of it
        RowsRefused              it will not take these rows, however often they are sent
        LosesTooMuch             shorter vectors find too few of the nearest rows; exit 3
        SinkUnavailable          it does not answer, or asks to wait (transient)
      MetricError                arrays from which a number cannot be had
      DriftError                 rows that cannot be compared
      WorkerLost                 a worker died or was ended without an answer (transient)
      Interrupted                the user asked to stop; exit 130

Each takes its whole message as the only argument, so that it survives pickling.
Retries look at nothing but `Transient`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class VectorlineError(Exception):
    """Base of all errors that vectorline raises on purpose."""

    exit_code = 1


class Transient:
    """Marks what may work when tried again: a time-out, a lost worker, a lost race."""


class ConfigError(VectorlineError):
    """What the user wrote cannot work; the message names key, value and what is allowed."""

    exit_code = 2


class ColumnMissing(ConfigError):
    """A sink wants a column that a version has not; a later one may have it."""


class SourceError(VectorlineError):
    """A source cannot be listed, opened or read."""


class SourceChanged(SourceError, Transient):
    """A file is not the one that was planned."""


class SourceUnavailable(SourceError, Transient):
    """A source did not answer in time or answered with a passing error."""


class EncoderError(VectorlineError):
    """An encoder cannot be loaded or does not give what its table holds."""


class EncoderChanged(EncoderError):
    """This machine's encoder is not the one that made a table."""


class UnknownModel(EncoderError):
    """A model, a revision or a file of weights that a config names is not to be had."""

    exit_code = 2


class StoreError(VectorlineError):
    """Tables, receipts, catalog or disk are not as they must be."""


class LeaseHeld(StoreError):
    """Another writer holds the table; the message names it."""


class LeaseLost(StoreError):
    """This writer was away for so long that its table was given to another one."""


class CommitConflict(StoreError, Transient):
    """Another commit from the same base came first: plan anew."""


class SinkError(VectorlineError):
    """A store downstream cannot be opened, written or read, or holds what is not ours."""


class RowsRefused(SinkError):
    """A store downstream will not take some of the rows of a batch, however often they are sent."""


class LosesTooMuch(SinkError):
    """Shorter vectors find fewer of the nearest rows than the config allows."""

    exit_code = 3


class SinkUnavailable(SinkError, Transient):
    """A store downstream did not answer in time, or answered with a passing error.

    `retry_after_s` is for how long it asked to be left alone, None where it did not say.
    """

    retry_after_s: float | None = None


class MetricError(VectorlineError):
    """A metric is undefined on what it was given; the message says what it needs."""


class DriftError(VectorlineError):
    """Two sets of rows cannot be compared; the message says what is wrong with them."""


class WorkerLost(VectorlineError, Transient):
    """A worker died or was ended before it answered."""


class Interrupted(VectorlineError):
    """The user asked to stop; receipts are kept."""

    exit_code = 130


@contextmanager
def noting(notes: Sequence[str]) -> Iterator[None]:
    """Lets an error carry what was noted before it: nobody may see a result then."""
    try:
        yield
    except VectorlineError as error:
        for note in notes:
            error.add_note(note)
        raise
