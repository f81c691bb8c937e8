"""Commit: all receipts there, the books balanced, then one transaction and one version."""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.catalog import VersionEntry
from schemas.manifest import ChunkBook, Manifest, RecordBook, Seconds
from schemas.quarantine import QuarantineEntry
from tasks import ledger
from tasks.compare import all_replaced
from tasks.digests import digest_json, digest_text, to_array
from tasks.encode import Encoded
from tasks.errors import SourceError, StoreError
from tasks.estimate import check_disk
from tasks.libraries import versions_of
from tasks.limits import objections, too_much_quarantined
from tasks.plan import Plan, Work
from tasks.run import Run
from tasks.store import manifests, quarantine, receipts
from tasks.store.commit import Change
from tasks.store.commit import commit as commit_change
from tasks.store.diff import Diff, Outcome, diff, find

LIBRARIES = (
    "lancedb",
    "pylance",
    "pyarrow",
    "numpy",
    "ray",
    "prefect",
    "torch",
    "sentence-transformers",
)


@dataclass(frozen=True)
class Committed:
    """The manifest of a run and the version that now stands for its config.

    `version` is None if nothing was ever committed for that config. `unit` is what its tokens are.
    """

    manifest: Manifest
    version: VersionEntry | None
    unit: str

    def summary(
        self,
        promoted: bool,
        notes: Sequence[str],
        gate: Mapping[str, object] | None = None,
        drift: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """What scripts may rely on, plain data."""
        manifest, version = self.manifest, self.version
        return {
            "run_id": manifest.run_id,
            "space": manifest.space,
            "table": manifest.table,
            "version": None if version is None else version.version,
            "new_version": manifest.version is not None,
            "fingerprint": manifest.fingerprint,
            "rows": manifest.rows_after,
            "promoted": promoted,
            "gate": gate,
            "drift": drift,
            "records": manifest.records.model_dump(),
            "chunks": manifest.chunks.model_dump(),
            "seconds": manifest.seconds.model_dump(),
            "encoder_loads": manifest.encoder_loads,
            "encoded": manifest.encoded,
            "tokens": manifest.tokens,
            "unit": self.unit,
            "fit": None if manifest.fit is None else manifest.fit.model_dump(),
            "precision": manifest.precision,
            "notes": list(notes),
        }


@task(name="check", persist_result=False, cache_policy=NO_CACHE)
def check(run: Run, plan: Plan) -> None:
    """What must hold before the work: not too much removed or quarantined, and room on the disk.

    The quarantine is written first, so that it can be looked at when this raises SourceError.
    """
    if plan.work is None:
        return
    run.held.check()
    ledger.drop(run.store_uri, run.table.name)
    quarantine.write(run.store_uri, run.table.name, plan.quarantined)
    for objection in objections(run, plan):
        raise SourceError(f"{objection}; no row was written")
    check_disk(run, plan.work)


@task(name="commit", persist_result=False, cache_policy=NO_CACHE)
def commit(run: Run, plan: Plan, encoded: Encoded | None) -> Committed:
    """Makes the version of a run, or notes that there was nothing to do.

    Raises StoreError if the books do not balance, CommitConflict if another writer came first.
    """
    started = time.monotonic()
    run.report("commit")
    run.held.check()  # before the quarantine and the ledger, which another run may have written
    if encoded is None or plan.work is None:
        return _nothing(run, plan, started)
    books, found = _final(plan, plan.work, encoded)
    removed = plan.work.head.rows.addresses[found.removed]
    bad = [*plan.quarantined, *encoded.quarantined]
    quarantine.write(run.store_uri, run.table.name, bad)
    if (objection := too_much_quarantined(run, plan.work, books, bad)) is not None:
        raise SourceError(f"{objection}; nothing was committed")
    manifest = _manifest(run, plan, encoded, books, found.data_digest, len(removed))
    if not manifest.balanced:
        raise StoreError(
            f"the books of run {manifest.run_id} do not balance, nothing was committed: "
            f"{manifest.records} {manifest.chunks} "
            f"rows {manifest.rows_before} -> {manifest.rows_after}"
        )
    manifests.write(run.store_uri, run.table.name, manifest.run_id, manifest)
    config = run.config.model_dump(mode="json")
    run.catalog.put_config(run.space, run.fingerprint, config, manifest.run_id)
    run.held.check()
    served = receipts.paths(run.store_uri, run.table.name)
    lance_version = commit_change(
        run.table,
        Change(
            run_id=manifest.run_id,
            base_version=encoded.base_version,
            fragments=[one for receipt in encoded.receipts for one in receipt.fragments],
            removed=removed,
            rows_before=manifest.rows_before,
            rows_written=manifest.chunks.written,
            rows_after=manifest.rows_after,
            token=run.held.token,
            properties={"data_digest": manifest.data_digest},
        ),
    )
    version = run.catalog.add_version(run.table, lance_version)
    _write_ledger(run, plan, encoded, lance_version)
    seconds = manifest.seconds.model_copy(
        update={"commit": time.monotonic() - started, "total": time.monotonic() - run.started}
    )
    manifest = manifest.model_copy(
        update={"lance_version": lance_version, "version": version.version, "seconds": seconds}
    )
    manifests.write(run.store_uri, run.table.name, manifest.run_id, manifest)
    receipts.clear(run.store_uri, served)
    return Committed(manifest, version, run.stage.unit)


def _nothing(run: Run, plan: Plan, started: float) -> Committed:
    """No new version, since the table is what the sources hold.

    The quarantine and the ledger are kept up to date.
    """
    versions = [one for one in run.catalog.versions(run.space) if one.table == run.table.name]
    version = versions[-1] if versions else None
    if version is not None and plan.work is not None:
        _write_ledger(run, plan, None, plan.base_version)
    if (
        version is not None
        and (entry := run.catalog.config(run.space, run.fingerprint)) is not None
    ):
        config = run.config.model_dump(mode="json")
        if entry.config != config:
            run.catalog.put_config(run.space, run.fingerprint, config)
    nothing = Encoded(
        digest_json([run.table.name, plan.base_version, "nothing"]).hex(), plan.base_version
    )
    digest = version.data_digest if version else ""
    manifest = _manifest(run, plan, nothing, plan.books, digest)
    seconds = manifest.seconds.model_copy(
        update={"commit": time.monotonic() - started, "total": time.monotonic() - run.started}
    )
    manifest = manifest.model_copy(update={"seconds": seconds})
    return Committed(manifest, version, run.stage.unit)


def _final(plan: Plan, work: Work, encoded: Encoded) -> tuple[RecordBook, Diff]:
    """The books and the diff, with what encoding put into quarantine."""
    compared, late = work.compared, encoded.quarantined
    if not late:
        return plan.books, compared.diff
    ids = to_array([digest_text(entry.id) for entry in late])
    winners = np.flatnonzero(compared.diff.outcomes <= Outcome.METADATA_CHANGED)
    records = winners[find(ids, compared.present.ids[winners])]
    judged, transient = compared.present.judged.copy(), compared.present.transient.copy()
    judged[records], transient[records] = True, [entry.transient for entry in late]
    found = diff(compared.base, replace(compared.present, judged=judged, transient=transient))
    if compared.anew:
        found = all_replaced(found)
    books = plan.books.model_copy(
        update={
            "new": found.count(Outcome.NEW),
            "changed": found.count(Outcome.CHANGED),
            "metadata_changed": found.count(Outcome.METADATA_CHANGED),
            "quarantined": plan.books.quarantined + len(late),
        }
    )
    return books, found


def _manifest(
    run: Run,
    plan: Plan,
    encoded: Encoded,
    books: RecordBook,
    data_digest: str,
    n_removed: int = 0,
) -> Manifest:
    written = sum(receipt.rows for receipt in encoded.receipts)
    return Manifest(
        run_id=encoded.run_id,
        space=run.space,
        table=run.table.name,
        fingerprint=run.fingerprint,
        base_lance_version=encoded.base_version,
        data_digest=data_digest,
        records=books,
        chunks=ChunkBook(
            written=written,
            removed=n_removed,
            truncated=sum(receipt.truncated for receipt in encoded.receipts),
        ),
        rows_before=plan.rows_before,
        rows_after=plan.rows_before + written - n_removed,
        encoder_loads=encoded.encoder_loads,
        encoded=sum(receipt.encoded for receipt in encoded.receipts),
        tokens=sum(receipt.tokens for receipt in encoded.receipts) + encoded.words,
        precision=encoded.precision,
        fit=encoded.fit,
        seconds=Seconds(start=run.seconds_to_plan, plan=plan.seconds, encode=encoded.seconds),
        started_at=run.started_at,
        host=platform.node(),
        libraries=versions_of(LIBRARIES),
        notes=tuple(run.notes),
    )


def _write_ledger(run: Run, plan: Plan, encoded: Encoded | None, lance_version: int) -> None:
    """What encoding put into quarantine is told to the files that it came from."""
    late: dict[str, list[QuarantineEntry]] = {}
    for entry in encoded.quarantined if encoded else ():
        late.setdefault(entry.source_uri, []).append(entry)
    files = [
        replace(
            one,
            quarantined=one.quarantined + len(late.get(one.uri, ())),
            entangled=one.entangled or one.uri in late,
            stamp="" if any(entry.transient for entry in late.get(one.uri, ())) else one.stamp,
        )
        for one in plan.files
    ]
    ledger.write(
        run.store_uri,
        run.table.name,
        files,
        lance_version=lance_version,
        sources_digest=run.sources_digest,
    )
