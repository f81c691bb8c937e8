"""What sources of Arrow columns share: which types can be what, and columns as Python values."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from schemas.quarantine import Reason
from tasks.errors import ConfigError
from tasks.sources.base import Problem, Value
from tasks.sources.fields import Fields

LANCE_BLOB = "lance.blob"  # a scan gives bytes


def check_types(schema: pa.Schema, fields: Fields, uri: str) -> None:
    """Raises ConfigError for a column whose type cannot be an id, a text or metadata."""
    for column in schema.names:
        data_type = schema.field(column).type if column in fields.columns else None
        if data_type is None:
            continue
        plain = value_type(data_type)
        if column == fields.id and not (
            _is_text(plain) or pat.is_integer(plain) or pat.is_null(plain)
        ):
            raise ConfigError(
                f"{uri}: id = {column!r} is {data_type}; a string or an integer is needed"
            )
        if column in fields.content.columns:
            _check_content(
                data_type,
                f"{uri}: {fields.content.kind} column {column!r}",
                binary=fields.content.binary,
            )
        if column in fields.metadata and plain is None:
            raise ConfigError(
                f"{uri}: metadata column {column!r} is {data_type}; "
                "strings, numbers, booleans, dates, timestamps, and lists of them can be metadata"
            )


def _check_content(data_type: pa.DataType, what: str, *, binary: bool) -> None:
    plain = value_type(data_type)
    if binary and not _is_binary(data_type):
        raise ConfigError(
            f"{what} is {data_type}; bytes are needed, or a struct that has them as `bytes` "
            "(image_path and audio_path name a column of paths)"
        )
    if not binary and (plain is None or pat.is_list(plain) or pat.is_boolean(plain)):
        raise ConfigError(f"{what} is {data_type}; a string or a number is needed")


def value_type(data_type: pa.DataType) -> pa.DataType | None:
    """The type that a column's values have in rows, None where they can be none.

    Dictionaries are their values, bytes are UTF-8, timestamps count microseconds.
    """
    if pat.is_dictionary(data_type):
        return value_type(data_type.value_type)
    if _is_text(data_type):
        return pa.string()
    if pat.is_date(data_type):
        return pa.date32()
    if pat.is_timestamp(data_type):
        return pa.timestamp("us", data_type.tz)
    if _is_list(data_type):
        element = value_type(data_type.value_type)
        # What needs a cast to be a value is cast in columns only, not within lists.
        as_it_is = element == data_type.value_type or pat.is_large_string(data_type.value_type)
        return pa.list_(element) if as_it_is and not pat.is_list(element) else None
    plain = (pat.is_integer, pat.is_floating, pat.is_boolean, pat.is_null)
    return data_type if any(is_kind(data_type) for is_kind in plain) else None


def unify(schemas: Iterable[tuple[str, pa.Schema]], fields: Fields) -> pa.Schema:
    """The metadata's types over all files, by their names in rows; null where no file has one.

    Integers and floats widen. Raises ConfigError, naming both files, for any other difference.
    """
    known: dict[str, tuple[pa.DataType, str]] = dict.fromkeys(fields.metadata, (pa.null(), ""))
    for uri, schema in schemas:
        for column, (data_type, first) in known.items():
            if column not in schema.names:
                continue
            here = value_type(schema.field(column).type)
            both = widen(data_type, here)
            if both is None:
                raise ConfigError(
                    f"metadata column {column!r} is {data_type} in {first} and {here} in {uri}; "
                    "one type is needed (integers and floats may mix)"
                )
            known[column] = (both, uri if pat.is_null(data_type) else first)
    return pa.schema([(name, known[column][0]) for column, name in fields.metadata.items()])


def widen(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds values of both, None where there is none."""
    if one == other or pat.is_null(other):
        return one
    if pat.is_null(one):
        return other
    if pat.is_list(one) and pat.is_list(other):
        element = widen(one.value_type, other.value_type)
        return None if element is None else pa.list_(element)
    if not (_is_number(one) and _is_number(other)):
        return None
    schemas = [pa.schema([("", one)]), pa.schema([("", other)])]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


def rows(batch: pa.RecordBatch, fields: Fields) -> Iterator[tuple[Value, ...]]:
    """The rows of a batch, one value for each slot; a column that is not there is null."""
    nulls: list[Value] = [None] * batch.num_rows
    binary = fields.content.columns if fields.content.binary else ()
    columns = {
        name: _bytes(batch.column(name)) if name in binary else _values(batch.column(name))
        for name in batch.schema.names
    }
    return zip(*(columns.get(name, nulls) for name in fields.slots), strict=True)


def _bytes(array: pa.Array) -> list[Value]:
    """Values of a column of bytes, or of a struct of bytes and more, as Hugging Face writes it."""
    if pat.is_struct(array.type):
        array = pc.struct_field(array, "bytes")
    values: list[Value] = array.to_pylist()
    return values


def _values(array: pa.Array) -> list[Value]:
    if pat.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pat.is_binary(array.type):
        array = array.view(pa.string())
    elif pat.is_large_binary(array.type):
        array = array.view(pa.large_string())
    elif pat.is_timestamp(array.type) and array.type.unit == "ns":
        array = array.cast(pa.timestamp("us", array.type.tz), safe=False)
    try:
        values: list[Value] = array.to_pylist()
    except (UnicodeDecodeError, OverflowError, ValueError):
        # Readers do not check values: only a batch that holds a bad one is taken value by value.
        return [_value(scalar) for scalar in array]
    return values


def _value(scalar: pa.Scalar) -> Value:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return Problem(Reason.INVALID_UTF8, f"byte {error.start} is not UTF-8: {error.reason}")
    except (OverflowError, ValueError) as error:
        return Problem(Reason.WRONG_TYPE, f"{scalar.type}: {error}")


def _is_text(data_type: pa.DataType | None) -> bool:
    kinds = (
        pat.is_string,
        pat.is_large_string,
        pat.is_string_view,
        pat.is_binary,
        pat.is_large_binary,
    )
    return data_type is not None and any(is_kind(data_type) for is_kind in kinds)


def _is_binary(data_type: pa.DataType) -> bool:
    if pat.is_dictionary(data_type):
        return _is_binary(data_type.value_type)
    if pat.is_struct(data_type):
        place = data_type.get_field_index("bytes")
        return place >= 0 and _is_binary(data_type.field(place).type)
    if getattr(data_type, "extension_name", "").startswith(LANCE_BLOB):
        return True
    kinds = (pat.is_binary, pat.is_large_binary, pat.is_binary_view, pat.is_fixed_size_binary)
    return any(is_kind(data_type) for is_kind in kinds)


def _is_list(data_type: pa.DataType) -> bool:
    return bool(
        pat.is_list(data_type) or pat.is_large_list(data_type) or pat.is_fixed_size_list(data_type)
    )


def _is_number(data_type: pa.DataType) -> bool:
    return bool(pat.is_integer(data_type) or pat.is_floating(data_type))
