"""Keep the tables of a space small and quick."""

from typing import Any

from prefect import flow

from tasks.config import from_dict
from tasks.maintain import maintain as maintain_table
from tasks.maintain import tidy
from tasks.store.catalog import Catalog


@flow(
    name="maintain",
    flow_run_name="maintain {space}",
    persist_result=False,
    validate_parameters=False,
)
def maintain(space: str, config: dict[str, Any], store_uri: str, wait_s: float) -> dict[str, Any]:
    """All tables of a space, then the catalog; gives what `vectorline maintain --json` prints."""
    retention = from_dict(config, f"the config of {space}").retention
    names = sorted({entry.table for entry in Catalog(store_uri).versions(space)})
    done = [maintain_table(store_uri, name, retention, wait_s) for name in names]
    tidy(store_uri)
    return {"space": space, "tables": done}
