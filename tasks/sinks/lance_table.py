"""One Lance table and its versions: those that commits of ours made say whose rows they have."""

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import SinkError, SinkUnavailable
from tasks.sinks.base import HASH
from tasks.sinks.folder import sync
from tasks.sinks.lance_tags import Tags

if TYPE_CHECKING:
    from lance import LanceDataset, LanceOperation

COLLECTION, STAMP, METRIC, COMMIT = "collection", "stamp", "metric", "commit"
DETACHED = 2**63  # of a detached version this bit is set
REBASES = 20  # over what does not conflict: an index that was built meanwhile
CLOCK_S = 5.0  # by which a disk's clock may lag
PASSING = (
    "HTTP error",
    "Generic S3",
    "Generic GCS",
    "Generic MicrosoftAzure",
    "timed out",
    "RetryError",
)
RACING = ("Ref conflict error", "Ref not found error", "_refs/tags/")
OTHERS = "another process wrote"
DISK_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
PUBLIC = ("endpoint", "region", "allow_http")  # options that are no secrets


@dataclass(frozen=True, slots=True)
class State:
    """A version with a collection, and what the commit that made it says."""

    dataset: "LanceDataset"
    properties: Mapping[str, str]
    is_head: bool


class LanceTable:
    """What it raises within `told` is a SinkError."""

    def __init__(self, path: str, options: dict[str, str] | None) -> None:
        """`options` are Lance's, for where it is."""
        self.path, self._options = path, options

    def head(self) -> "LanceDataset | None":
        """What readers see; None where there is no table."""
        return self.version(None)

    def version(self, version: int | None) -> "LanceDataset | None":
        """One of its versions; None where it is gone."""
        import lance

        try:
            return lance.dataset(self.path, version=version, storage_options=self._options)
        except ValueError as error:
            if "was not found" not in str(error):
                raise
            return None

    def is_ours(self, head: "LanceDataset") -> bool:
        """Whether nobody else made the table: one of ours has our tags, or is empty."""
        is_new = head.count_rows() == 0 and HASH in head.schema.names
        return is_new or bool(self.tags(head).collections()) or bool(self.said(head))

    def served(self, head: "LanceDataset") -> str | None:
        """The collection that readers see."""
        return self.said(head).get(COLLECTION) or None

    def said(self, head: "LanceDataset") -> Mapping[str, str]:
        """What our last commit to the head says."""
        for version in range(head.version, 0, -1):
            try:
                transaction = head.read_transaction(version)
            except (TypeError, OSError, ValueError):
                continue  # a compaction that pylance cannot read, or a version that was cleaned up
            properties = transaction.transaction_properties if transaction else None
            if properties and COLLECTION in properties:
                found: Mapping[str, str] = properties
                return found
        return {}

    def state(self, name: str) -> State:
        """A collection as it is now."""
        with self.told(f"opening collection {name}"):
            head = self.head()
            if head is not None:
                said = self.said(head)
                if said.get(COLLECTION) == name:
                    return State(head, said, True)
                if (version := self.tags(head).collections().get(name)) is not None:
                    dataset = self.version(version)
                    if dataset is not None:
                        transaction = dataset.read_transaction(version)
                        own = (transaction and transaction.transaction_properties) or {}
                        # A head that was tagged may be a commit of others, upon one of ours.
                        said = own if COLLECTION in own else self.said(dataset)
                        return State(dataset, said, False)
        raise SinkError(f"{self.path} has no collection {name} (any more): publish with --repair")

    def commit(
        self,
        base: "LanceDataset",
        operation: "LanceOperation.BaseOperation",
        properties: Mapping[str, str],
        *,
        detached: bool = False,
    ) -> "LanceDataset":
        """One transaction on top of `base`, once: one that came between makes it fail."""
        from lance import LanceDataset, LanceOperation, Transaction
        from lance.commit import CommitConflictError

        commit = uuid.uuid4().hex
        is_first = isinstance(operation, LanceOperation.Overwrite) and not detached
        transaction = Transaction(
            read_version=base.version,
            operation=operation,
            transaction_properties={**properties, COMMIT: commit},
        )
        try:
            return LanceDataset.commit(
                base if detached else self.path,
                transaction,
                detached=detached,
                storage_options=self._options,
                max_retries=0 if is_first else REBASES,
            )
        except (OSError, ValueError) as error:
            head = None if detached else self.head()
            if head is not None and self.said(head).get(COMMIT) == commit:
                return head  # it had landed
            if isinstance(error, CommitConflictError):
                raise SinkUnavailable(f"{self.path}: {OTHERS} meanwhile: publish again") from error
            raise

    def restore(
        self, head: "LanceDataset", version: int, properties: Mapping[str, str]
    ) -> "LanceDataset":
        """Makes a version the head, durably."""
        import lance

        begun = time.time() - CLOCK_S
        made = self.commit(head, lance.LanceOperation.Restore(version), properties)
        self.sync(begun)
        return made

    def tags(self, dataset: "LanceDataset") -> Tags:
        """Which versions collections are; any version of the table will do."""
        return Tags(self.path, dataset)

    def sync(self, begun: float) -> None:
        """Brings to a local disk what was written since: Lance does it for none of its files."""
        root = Path(self.path)
        if not root.is_dir():
            return
        for path in root.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime >= begun:
                    sync([path])
        sync([root, root.parent])

    @contextmanager
    def told(self, doing: str) -> Iterator[None]:
        """Lance raises these for all that goes wrong; only the words tell it apart."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            words = str(error).replace("\n", " ")[:300]
            for key, value in (self._options or {}).items():
                words = words if key.endswith(PUBLIC) else words.replace(value, "***")
            if any(sign in words for sign in DISK_FULL):
                raise SinkError(
                    f"{self.path}: no space left on the disk while {doing}; readers have what "
                    "they had: free some space and publish again"
                ) from None
            if any(sign in words for sign in RACING):
                raise SinkUnavailable(
                    f"{self.path}: {OTHERS} while {doing}: publish again"
                ) from None
            if any(sign in words for sign in PASSING):
                raise SinkUnavailable(f"{self.path} did not answer, {doing}: {words}") from None
            raise SinkError(f"{self.path}: {doing} failed: {words}") from None
