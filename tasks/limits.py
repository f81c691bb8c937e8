"""What a config's limits say to a plan."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from schemas.manifest import RecordBook
from schemas.quarantine import QuarantineEntry
from tasks.plan import Plan, Work
from tasks.run import Run
from tasks.sources.words import WordSource

EXAMPLES = 3


def objections(run: Run, plan: Plan) -> Iterator[str]:
    """Why a run of this plan would be stopped before any work; nothing where it may go on."""
    if plan.work is None:
        return
    much = too_much_quarantined(run, plan.work, plan.books, plan.quarantined)
    if much is not None:
        yield much
    if not run.options.allow_removals and not run.options.limit:
        yield from _too_much_removed(run, plan.work)


def too_much_quarantined(
    run: Run, work: Work, books: RecordBook, entries: Sequence[QuarantineEntry]
) -> str | None:
    """A sentence with the reasons and some examples, if `limits.max_quarantined` is exceeded."""
    limit, (n_read, kind) = run.config.limits.max_quarantined, _read(run, work, books)
    if books.quarantined <= limit * n_read:
        return None
    reasons = Counter(entry.reason.value for entry in entries).most_common()
    example = {entry.reason.value: entry for entry in reversed(entries)}  # the first of each
    first = [
        f"{reason}: {example[reason].id!r} ({example[reason].detail})"
        for reason, _ in reasons[:EXAMPLES]
    ]
    return (
        f"{books.quarantined} of {n_read} {kind} would go to quarantine "
        f"({', '.join(f'{count} {reason}' for reason, count in reasons)}), and "
        f"limits.max_quarantined is {limit}. For example {'; '.join(first)}"
    )


def _read(run: Run, work: Work, books: RecordBook) -> tuple[int, str]:
    """Of how many some are bad, and what they are: where records are words, texts are."""
    source, shards = run.sources[0], work.scanned.shards
    if isinstance(source, WordSource) and shards:  # none of files that cannot be read
        return source.words(shards[0].shard.files[0]).n_texts, "texts"
    return books.read, "records"


def _too_much_removed(run: Run, work: Work) -> Iterator[str]:
    """Each source on its own; rows that no source of the config owns are a source too."""
    head, found = work.head, work.compared.diff
    firsts, limit = head.rows.chunks == 0, run.config.limits.max_removed
    isolated = np.isin(work.compared.origin, work.scanned.isolated)
    lost_rows = found.absent | np.isin(found.row_groups, found.record_groups[isolated])
    for source in np.unique(head.owners).tolist():
        mine = firsts & (head.owners == source)
        lost, had = int(np.count_nonzero(lost_rows & mine)), int(np.count_nonzero(mine))
        if lost > limit * had:
            gone = "a source that is not in the config any more"
            yield (
                f"{gone if source < 0 else f'source {source + 1}'} lost {lost} of {had} records, "
                f"and limits.max_removed is {limit}: look at the source, or run with "
                "--allow-removals"
            )
