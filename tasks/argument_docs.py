"""What the docstring of a plugin's constructor says of its arguments."""

import inspect
import re
from collections.abc import Callable

SHARED = {
    "api_key": "The key that the server asks for.",
    "ca_certs": "A file of certificates by which the server's is checked.",
    "collection": "What readers know it by.",
    "database": "The database on the server.",
    "ef_construction": "Rows that HNSW looks at for each that it takes in: more finds more.",
    "grpc_host": "Where its gRPC interface is; by default the host of `url`.",
    "grpc_port": "The port of its gRPC interface.",
    "host": "The server's name or address.",
    "index": "The kind of the vector index; none compares with all rows.",
    "index_params": "Parameters of the index, by its own names.",
    "index_type": "The kind of the vector index.",
    "m": "Neighbours of a row in HNSW.",
    "password": "Of the user: {env: NAME} or {block: secret/NAME}.",
    "path": "The file.",
    "port": "The server's port.",
    "table": "The table that readers open.",
    "tenant": "The tenant on the server.",
    "timeout_s": "Seconds after which a server counts as not answering.",
    "url": "Where the server is.",
    "user": "Who asks.",
    "username": "Who asks.",
}
"""Of sinks' arguments whose docstrings say no more than the name does."""


def descriptions(plugin: type) -> dict[str, str]:
    """By argument: its entry under `Args:`, or the sentences that name it in backquotes."""
    made: Callable[..., object] = plugin.__init__  # type: ignore[misc]
    told, _, listed = inspect.cleandoc(made.__doc__ or "").partition("Args:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", listed, re.MULTILINE)
    found = {name: " ".join(text.split()) for name, text in entries}
    sentences = re.split(r"(?<=[.;]) (?=[A-Z`])", " ".join(told.split()))
    for name in inspect.signature(plugin).parameters:
        if said := [one for one in sentences if f"`{name}`" in one]:
            found.setdefault(name, " ".join(said).rstrip(";"))
    return found
