"""What a new user starts from: a commented config, a small corpus, and a schema for editors."""

import json
from pathlib import Path

from tasks.config_schema import config_json_schema
from tasks.errors import ConfigError
from tasks.starter_notes import NOTES

CONFIG = "vectorline.yaml"
CORPUS = "notes.jsonl"
SCHEMA = "vectorline.schema.json"

_CONFIG_TEXT = f"""\
# yaml-language-server: $schema={SCHEMA}
#
# One file describes one space: a collection of records that is kept encoded as vectors.
# Relative paths start at this file's folder.

space: notes

source:
  use: jsonl                  # or parquet, csv, text, lance
  path: {CORPUS}           # a file, a glob such as data/*.jsonl, a list, or a URI such as s3://...
  id: id                      # the key that names a record for good
  text: text                  # what is encoded; or a template: "{{title}}. {{abstract}}"
  metadata: [topic]           # kept beside the vectors, for filters
  # mode: append              # keep records that are gone from the source; snapshot removes them
  # storage_options:          # for remote paths; secrets are named, never written here
  #   key: {{env: S3_KEY}}
  #   secret: {{env: S3_SECRET}}

encoder:
  use: sentence-transformers  # or hashing, which needs no model
  # model: intfloat/e5-small-v2   # any model of the hub, or a folder; the default needs no network

# chunk: {{tokens: 200, overlap: 20}}      # cut long texts; each chunk gets a row of its own

# compute: {{workers: auto, device: auto}}

# limits:
#   max_removed: 0.2          # stop before a source that lost more of its records is followed
#   max_quarantined: 0.2      # stop if more of the records cannot be encoded

# retention: {{versions: 10, days: 30}}    # what `vectorline maintain` keeps, each of the two
# schedule: "0 3 * * *"                    # when it is refreshed, once `vectorline deploy` says so
# index: {{columns: [topic]}}              # metadata columns whose filters it makes quick

# publish:                    # vector stores that hold what serves, after each run
#   - use: parquet            # or faiss, pgvector, qdrant, chroma, lancedb, milvus, duckdb, ...
#     path: exports/notes
#   - use: qdrant             # pip install 'vectorline[qdrant]'
#     url: http://localhost:6333
#     collection: notes
#     api_key: {{env: QDRANT_KEY}}
"""


def init(folder: Path) -> list[Path]:
    """Writes config, corpus and schema into a folder, and gives their paths.

    Raises:
        ConfigError: One of them is there already, or the folder cannot be written.
    """
    notes = [
        {"id": f"note-{number:02d}", "topic": topic, "text": text}
        for number, (topic, text) in enumerate(NOTES, start=1)
    ]
    texts = {
        CONFIG: _CONFIG_TEXT,
        CORPUS: "".join(json.dumps(note) + "\n" for note in notes),
        SCHEMA: json.dumps(config_json_schema(), indent=2) + "\n",
    }
    if there := [name for name in texts if (folder / name).exists()]:
        raise ConfigError(
            f"{folder} holds {' and '.join(there)} already, and nothing is overwritten: "
            "name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write into {folder}: {error.strerror}") from error
    return [folder / name for name in texts]
