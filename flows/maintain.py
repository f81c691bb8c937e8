"""Keep the tables of a space small and quick."""

from typing import Any

from prefect import flow

from flows.turns import turn
from tasks.config import from_dict
from tasks.errors import LeaseHeld
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
    """All tables of a space, then the catalog; gives what `vectorline maintain --json` prints.

    Raises LeaseHeld at the end if a run wrote one of them.
    """
    wanted = from_dict(config, f"the config of {space}")
    done, held = [], []
    with turn(space, store_uri):
        names = sorted({entry.table for entry in Catalog(store_uri).versions(space)})
        sinks = [one.label for one in wanted.publish]
        baseline = None if wanted.drift is None else str(wanted.drift.baseline)
        for name in names:
            try:
                done.append(
                    maintain_table(
                        store_uri, name, wanted.retention, wanted.index, wait_s, sinks, baseline
                    )
                )
            except LeaseHeld as error:  # the others need not wait for a long run
                held.append(error)
        tidy(store_uri)
    if held:
        raise held[0]
    return {"space": space, "tables": done}
