"""A space that is refreshed and kept small, in this process, and what each version must hold."""

from pathlib import Path

from schemas.config import IndexConfig, Retention
from tasks.maintain import maintain, tidy
from tasks.space import open_space
from tasks.store.catalog import Catalog
from tests.pipeline import config, refresh, write_jsonl

Content = dict[str, tuple[str, int]]

N_RECORDS = 30


class Life:
    """A store, its corpus, and its versions by number as plain dicts."""

    def __init__(self, store: Path, corpus: Path) -> None:
        self.store = str(store)
        self.corpus = corpus
        self.versions: dict[int, Content] = {}

    @property
    def serving(self) -> int | None:
        """The number of the version that serves."""
        serving = Catalog(self.store).serving("notes")
        return None if serving is None else serving.version

    def change(self) -> Content:
        """Changes, removes and adds records, among them one that goes to quarantine."""
        n = len(self.versions) + 1
        ids = range(n, N_RECORDS + n)
        content = {f"r{i}": (f"text {i if i % 5 else n * i}", n if i % 4 == 0 else 0) for i in ids}
        bad = {"id": f"bad{n}", "text": "", "year": n}
        rows = [{"id": id_, "text": text, "year": year} for id_, (text, year) in content.items()]
        write_jsonl(self.corpus / "a.jsonl", [*rows, bad])
        return content

    def run(self) -> None:
        """A run of all its verbs."""
        refresh(config(self.corpus), self.store)

    def add(self) -> None:
        """A change and its version."""
        content = self.change()
        self.run()
        self.versions[len(self.versions) + 1] = content

    def upkeep(self, versions: int = 1, days: int = 0) -> None:
        """Upkeep with indexes."""
        kept, wanted = (
            Retention(versions=versions, days=days),
            IndexConfig(columns=("year",), rows=20),
        )
        table = Catalog(self.store).versions("notes")[-1].table
        maintain.fn(self.store, table, kept, wanted, 0.0)
        tidy.fn(self.store)

    def contents(self) -> dict[int, Content]:
        """What all versions hold, by number; no id twice."""
        found = {}
        for entry in Catalog(self.store).versions("notes"):
            space = open_space("notes", self.store, entry.version)
            rows = space.to_arrow(["id", "text", "year"]).to_pylist()
            found[entry.version] = {row["id"]: (row["text"], row["year"]) for row in rows}
            assert len(rows) == len(found[entry.version])
        return found

    def left(self, *numbers: int) -> dict[int, Content]:
        """What these versions must hold."""
        return {number: self.versions[number] for number in numbers}
