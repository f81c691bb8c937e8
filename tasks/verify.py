"""Verify: whether a space is what the store says of it. Reads, and writes nothing.

No check stops another one: what goes wrong while something is looked at is what that check says.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from schemas.catalog import VersionEntry
from schemas.manifest import Manifest
from tasks import plugins
from tasks.check import Check
from tasks.encoders.base import Encoder
from tasks.encoders.fitted import FittedEncoder
from tasks.encoders.running import to_unit
from tasks.errors import VectorlineError
from tasks.fitting import fitted_vectors
from tasks.progress import Report, listener
from tasks.soundness import NAMED, Finding, Rows
from tasks.space import Space, open_space
from tasks.store import maintenance, manifests
from tasks.store.catalog import Catalog
from tasks.store.commit import RUN_TAG
from tasks.store.damage import find_damage
from tasks.store.files import lance_errors
from tasks.store.index_check import look_at_indexes
from tasks.store.indexes import recall, vector_index
from tasks.store.rows import to_matrix
from tasks.store.swap import runs
from tasks.store.table import Table
from tasks.table_encoder import load_encoder

ANEW = (
    "promote a version that is whole",
    "or bring the store back from a copy",
    "or let `vectorline drop` and a run make the table anew",
)
MEND = {
    "versions": ("a run or `vectorline maintain` mends what a kill left; if not:", *ANEW),
    "manifests": ANEW,
    "files": ANEW,
    "ids": ANEW,
    "data": ANEW,
    "texts": ANEW,
    "metadata": ANEW,
    "vectors": ANEW,
    "canaries": ("bring back the weights and libraries that made the table",),
    "encoder": ANEW,
    "indexes": ("`vectorline maintain` makes those anew that are its own; drop yours yourself",),
}
"""What to do, by check: a line each."""
RECALL_NOISE = 0.02  # other queries are asked when rows have come since
UNSEEN = "not checked"
ROW_CHECKS = ("ids", "data", "texts", "metadata", "vectors", "encoder", "indexes")


def verify(
    store_uri: str,
    space: str,
    version: str | None = None,
    *,
    all_rows: bool = False,
    rng: np.random.Generator | None = None,
) -> list[Check]:
    """All checks of one version; with None of the one that serves and of the latest.

    With None, whether all others open, their books and their files besides. `all_rows` encodes all
    texts again instead of a sample, which is another one each time unless `rng` is given. Raises
    ConfigError if there is no such version.
    """
    catalog = Catalog(store_uri)
    latest = catalog.resolve(space, version or "latest")
    serving = catalog.serving(space) if version is None else None
    entries = catalog.versions(space) if version is None else [latest]
    found = _Findings()
    opened: dict[int, Space] = {}
    for entry in entries:
        found.look("versions", partial(_open, store_uri, entry, opened), entry)
    damaged = {*opened}  # until their files are shown to be whole
    for table in sorted({one.entry.table for one in opened.values()}):
        own = {n: one for n, one in opened.items() if one.entry.table == table}
        found.look("files", partial(_files, table, own, damaged))
    if damaged:
        whole = _listed(sorted(opened.keys() - damaged)) or "none"
        found.look("files", lambda: Finding("", [f"whole versions: {whole}"]))
    for table in sorted({one.entry.table for one in opened.values()}):
        found.look("versions", partial(_head, Table(store_uri, table), catalog, damaged))
    for number, one in opened.items():
        look = _unread if number in damaged else partial(_manifest, one)
        found.look("manifests", look, one.entry)
    thorough = _Thorough(
        found, _metadata_names(catalog, space), rng or np.random.default_rng(), all_rows=all_rows
    )
    for number, entry in sorted({one.version: one for one in (serving, latest) if one}.items()):
        if number not in opened:
            found.skip(entry, "it cannot be opened")
        else:
            thorough.look(opened[number], damaged=number in damaged)
    return found.checks()


class _Findings:
    """What was found, by check."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[int | None, Finding]]] = {name: [] for name in MEND}

    def look(
        self, check: str, looking: Callable[[], Finding], entry: VersionEntry | None = None
    ) -> None:
        """Looks, at one version or at something else; that it cannot be done is a fault."""
        version = None if entry is None else entry.version
        listener.get()(Report(f"verify {check}" + (f" of version {version}" if version else "")))
        try:
            with lance_errors("reading it"):
                found = looking()
        except VectorlineError as error:
            found = Finding("", [str(error)])
        self._found[check].append((version, found))

    def skip(self, entry: VersionEntry, why: str) -> None:
        """Says of what looks at rows that it was not done."""
        finding = Finding(f"{UNSEEN}: {why}")
        for check in ROW_CHECKS:
            self.look(check, lambda: finding, entry)

    def checks(self) -> list[Check]:
        """All, with what to do about those that are not ok."""
        done = []
        for check, found in self._found.items():
            faults = _joined([(version, one) for version, own in found for one in own.faults])
            said = [(version, own.looked) for version, own in found if own.looked]
            detail = "\n".join([faults, *MEND[check]]) if faults else _joined(said)
            looked = not all(one.startswith(UNSEEN) for _, one in said)
            done.append(Check(check, not faults, detail, looked or bool(faults)))
        return done


def _joined(said: Sequence[tuple[int | None, str]]) -> str:
    """Sentences, each once, with the versions that it is said of."""
    of: dict[str, list[int]] = {}
    for version, sentence in said:
        of.setdefault(sentence, []).extend([] if version is None else [version])
    return "; ".join(
        f"version {_listed(versions)}: {sentence}" if versions else sentence
        for sentence, versions in of.items()
    )


def _open(store_uri: str, entry: VersionEntry, opened: dict[int, Space]) -> Finding:
    space = open_space(entry.space, store_uri, entry.version)
    opened[entry.version] = space
    table, tag = Table(store_uri, entry.table), f"{RUN_TAG}{entry.run_id}"
    target = table.tags().get(tag)
    if target is None:
        return Finding("", [f"its tag {tag} is not there"])
    if target == entry.lance_version:
        return Finding("opens")
    ahead = table.open(target)  # while fragments are gathered
    if np.array_equal(maintenance.row_ids(ahead), maintenance.row_ids(space.dataset)):
        return Finding("opens")
    return Finding("", [f"its tag {tag} is on Lance version {target}, with other rows"])


def _head(table: Table, catalog: Catalog, damaged: set[int]) -> Finding:
    """Whether the head is that of the newest version, or on its way to be."""
    newest = maintenance.newest(table, catalog)
    if newest.version in damaged:
        return Finding("")  # said already; and Lance may not outlive it
    if any(runs(table.uri, newest.lance_version)):
        return Finding(f"a run of {table.name} is at its end, or was cut off there")
    maintenance.is_head(table, newest)
    return Finding("")


def _manifest(space: Space) -> Finding:
    entry = space.entry
    manifest = manifests.read(space.store_uri, entry.table, entry.run_id, Manifest)
    counts = {"the catalog": entry.rows, "its table": space.rows}
    if manifest is not None:
        counts = {"its manifest": manifest.rows_after, **counts}
    faults = []
    if len({*counts.values()}) > 1:
        faults.append(", ".join(f"{who} has {count:,} rows" for who, count in counts.items()))
    if manifest is not None and not manifest.balanced:
        faults.append("the books in its manifest do not balance")
    if manifest is not None and manifest.data_digest != entry.data_digest:
        faults.append("its manifest has another digest of the data than the catalog")
    missing = "; not checked: its manifest is gone" if manifest is None else ""
    return Finding(f"{entry.rows:,} rows{missing}", faults)


def _unread() -> Finding:
    """Lance may end the process over marks of removed rows that are damaged."""
    return Finding(f"{UNSEEN}: files of it are damaged")


def _files(table: str, versions: dict[int, Space], damaged: set[int]) -> Finding:
    store_uri = next(iter(versions.values())).store_uri
    datasets = {number: one.dataset for number, one in versions.items()}
    damage = find_damage(store_uri, table, datasets)
    broken = {number for name in damage.faults for number in damage.versions[name]}
    damaged -= versions.keys() - broken
    looked = f"{len(damage.versions):,} files of {table}"
    if damage.unlisted:
        looked += (
            f"; not checked: {len(damage.unlisted):,} have no digest to be compared with, such as "
            f"{damage.unlisted[0]}"
        )
    if not broken:
        return Finding(looked)
    faults = [
        f"{table}.lance/{name}, of version {_listed(damage.versions[name])}, {fault}"
        for name, fault in sorted(damage.faults.items())
    ]
    more = [f"and {len(faults) - NAMED:,} more files"] if len(faults) > NAMED else []
    return Finding(looked, [*faults[:NAMED], *more])


def _listed(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions))


def _metadata_names(catalog: Catalog, space: str) -> list[list[str]] | None:
    """The metadata columns of each source that the space ever had; None if one is not our own."""
    names = [["count"]]  # of words, whatever their texts have
    for entry in catalog.configs(space):
        for source in cast("list[dict[str, Any]]", entry.config["source"]):
            if source["use"] not in plugins.names("sources"):
                return None
            rename = source.get("rename") or {}
            own = [
                *(source.get("metadata") or ()),
                *((source.get("nodes") or {}).get("metadata", ())),
            ]
            names.append([rename.get(name, name) for name in own])
    return names


class _Thorough:
    """The checks that read rows."""

    def __init__(
        self,
        found: _Findings,
        names: list[list[str]] | None,
        rng: np.random.Generator,
        *,
        all_rows: bool,
    ) -> None:
        self._found = found
        self._names = names
        self._rng = rng
        self._all_rows = all_rows
        self._encoders: dict[str, Encoder | None] = {}

    def look(self, space: Space, *, damaged: bool) -> None:
        """All of them; of a damaged version only whether its encoder is here."""
        found, entry, rows = self._found, space.entry, Rows(space)
        if entry.table not in self._encoders:
            self._encoders[entry.table] = None
            found.look("canaries", partial(self._canaries, space))
        if damaged:
            found.skip(entry, "files of it are damaged")
            return
        found.look("ids", rows.ids, entry)
        found.look("data", rows.data, entry)
        found.look("texts", rows.texts, entry)
        found.look("metadata", partial(rows.metadata, self._names), entry)
        found.look("vectors", rows.vectors, entry)
        found.look("encoder", partial(self._encoded, space, rows), entry)
        found.look("indexes", partial(_indexes, space, self._rng), entry)

    def _canaries(self, space: Space) -> Finding:
        encoder = load_encoder(Table(space.store_uri, space.entry.table))
        self._encoders[space.entry.table] = encoder
        if isinstance(encoder, FittedEncoder):
            return Finding(f"{space.entry.table} has none: its encoder is fitted to the corpus")
        return Finding(f"the encoder here gives those of {space.entry.table}")

    def _encoded(self, space: Space, rows: Rows) -> Finding:
        encoder = self._encoders[space.entry.table]
        if encoder is None:
            return Finding(f"{UNSEEN}: see `canaries`")
        if isinstance(encoder, FittedEncoder):
            return _of_its_fit(space)
        return rows.encoded(encoder, self._rng, all_rows=self._all_rows)


def _of_its_fit(space: Space) -> Finding:
    """Whether the fit that the manifest names is whole, and gives the vectors of all rows."""
    entry = space.entry
    manifest = manifests.read(space.store_uri, entry.table, entry.run_id, Manifest)
    if manifest is None or manifest.fit is None:
        return Finding("", ["the manifest names no fit"])
    given = fitted_vectors(space.store_uri, entry.table, manifest.fit.model)
    wrong: list[str] = []
    for batch in space.batches(["record_id", "vector"]):
        ids = batch["record_id"].to_pylist()
        want = to_unit(given(ids)) if space.settings.normalized else given(ids)
        same = (to_matrix(batch["vector"]) == want).all(axis=1).tolist()
        wrong += [id_ for id_, right in zip(ids, same, strict=True) if not right]
    what = f"{len(wrong):,} rows are not those of fit {manifest.fit.model}, such as"
    faults = [f"{what} {one!r}" for one in wrong[:1]]
    return Finding(f"{space.rows:,} rows are those of their fit", faults)


def _indexes(space: Space, rng: np.random.Generator) -> Finding:
    found = look_at_indexes(space.dataset, rng)
    unknown = [one.index for one in found if not one.known]
    left = f"; not checked: {', '.join(unknown)}, of another kind" if unknown else ""
    n_looked = len(found) - len(unknown)
    looked = f"{n_looked} {'index' if n_looked == 1 else 'indexes'}"
    faults = [f"index {one.index}: {one.fault}" for one in found if one.fault is not None]
    if (index := vector_index(space.dataset)) is not None:
        now = recall(space.dataset, index)
        looked += f", recall@10 {now:.3f}"
        if now < index.recall - RECALL_NOISE:
            faults.append(
                f"recall@10 is {now:.3f}, and was {index.recall:.3f} when it was measured"
            )
    return Finding(f"{looked}{left}", faults)
