"""Which vectors are copied, and which ones had better be encoded again."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.copying import known_vectors
from tasks.digests import digest_text
from tasks.encoders.base import Conversion
from tasks.encoders.hashing import HashingEncoder
from tasks.jobs import Donors, Target, VectorFile
from tasks.rows import Row, sound
from tasks.sources.base import Record
from tasks.store import fragments
from tasks.store.table import Table
from tests.encoders import CutEncoder
from tests.tables import DIM, new_table, put, rows, vector


def asked(*values: int) -> list[Row]:
    """Rows whose texts are those of these values."""
    found = []
    for value in values:
        text = f"text {value}"
        record = Record(id=str(value), content=text, metadata={}, source_uri="a.csv")
        key = digest_text(text)
        found.append(Row(record, key, key, 0, None, key))
    return found


def target(table: Table) -> Target:
    schema = table.open().schema
    return Target(table.store_uri, table.name, "run", "session", "float32", schema)


def test_only_sound_vectors_are_copied(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    made = rows(table, {"a": 1, "b": 2, "c": 3, "d": 4})
    vectors = [[float("nan"), 0, 0, 1], [0, 0, 0, 0], [0.5, 0, 0, 0], vector(4)]
    column = pa.array(vectors, made.schema.field("vector").type)
    made = made.set_column(made.schema.get_field_index("vector"), "vector", column)
    (damaged,) = fragments.vector_paths(table.uri, fragments.write(table.uri, made))
    whole = fragments.write(table.uri, rows(table, {"e": 3}))
    files = (damaged, str(tmp_path / "gone.lance"), *fragments.vector_paths(table.uri, whole))
    found, known = known_vectors(
        asked(4, 3, 2, 1, 4, 9),
        Donors(files=tuple(map(VectorFile, files))),
        target(table),
        HashingEncoder(dim=DIM),
    )
    assert known.tolist() == [True, True, False, False, True, False]
    assert found[known].tolist() == [vector(4), vector(3), vector(4)]


def test_a_vector_is_sound_if_it_has_a_direction_and_the_norm_that_it_should_have() -> None:
    vectors = np.array([[3, 4], [0.6, 0.8], [0, 0], [np.nan, 1], [np.inf, 1]], np.float32)
    assert sound(vectors, normalized=False).tolist() == [True, True, False, False, False]
    assert sound(vectors, normalized=True).tolist() == [False, True, False, False, False]


def test_rows_of_the_base_come_first(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    version = put(table, "one", {"a": 1, "b": 2})
    donors = Donors(version, table.base(version).addresses[1:])
    found, known = known_vectors(asked(1, 2), donors, target(table), HashingEncoder(dim=DIM))
    assert known.tolist() == [False, True]
    assert found[1].tolist() == vector(2)
    other = rows(table, {"c": 2})
    place = other.schema.get_field_index("vector")
    other = other.set_column(place, "vector", pa.array([vector(9)], other.schema.field(place).type))
    written = fragments.vector_paths(table.uri, fragments.write(table.uri, other))
    donors = Donors(version, donors.addresses, tuple(map(VectorFile, written)))
    found, _ = known_vectors(asked(2), donors, target(table), HashingEncoder(dim=DIM))
    assert found.tolist() == [vector(2)]
    _, known = known_vectors(asked(1, 2), Donors(), target(table), HashingEncoder(dim=DIM))
    assert known.tolist() == [False, False]


def test_vectors_of_another_encoder_are_converted_where_it_read_all_of_the_text(
    tmp_path: Path,
) -> None:
    table = new_table(tmp_path)
    (path,) = fragments.vector_paths(
        table.uri, fragments.write(table.uri, rows(table, {"a": 1, "b": 2}))
    )
    encoder = CutEncoder(str(tmp_path / "counts"), keep=1, words=9)
    for longest, expected in ((None, [True, True]), (2, [True, True]), (1, [False, False])):
        donors = Donors(files=(VectorFile(path, Conversion(longest)),))
        found, known = known_vectors(asked(1, 2), donors, target(table), encoder)
        assert known.tolist() == expected
        assert found[known].tolist() == np.ones((int(known.sum()), 1)).tolist()
