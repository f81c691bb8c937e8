"""Publish: let a vector store downstream hold what serves."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.config import SinkConfig
from schemas.publication import PublicationRecord
from tasks import plugins
from tasks.errors import Interrupted
from tasks.progress import Report, listener
from tasks.publishing import Publication, Wish
from tasks.pushing import Patience
from tasks.run import Stop
from tasks.secrets import resolve_secrets
from tasks.space import open_space
from tasks.store import lease

UNIT = "rows"


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What the command line says about publishing."""

    allow_removals: bool = False
    repair: bool = False
    wait_s: float = 0.0


@task(name="publish", persist_result=False, cache_policy=NO_CACHE)
def publish(
    store_uri: str, space: str, config: SinkConfig, options: PublishOptions, stop: Stop
) -> PublicationRecord:
    """Brings one sink to the version that serves.

    Raises LeaseHeld while another one publishes there, ConfigError where no version serves, for
    what the sink holds or cannot take, SinkError where it does not do as it should, Interrupted
    when the user asked to stop.
    """
    label = config.label

    def check() -> None:
        held.check()
        if stop.is_set():
            raise Interrupted(f"stopped publishing to {label!r}: the next one goes on from here")

    def report(stage: str, done: int, total: int) -> None:
        listener.get()(Report(stage, done, total, unit=UNIT))

    with lease.lease(store_uri, f"{space}.to-{label}", options.wait_s, lost=stop) as held:
        report(f"open {label}", 0, 0)
        serving = open_space(space, store_uri, "serving")
        sink = plugins.build("sinks", config.use, resolve_secrets(config.arguments))
        with closing(sink):
            sink.connect()
            wish = Wish(
                serving,
                config,
                allow_removals=options.allow_removals,
                repair=options.repair,
                patience=Patience(check, stop.wait),
                report=report,
            )
            return Publication(wish, sink).run()


def told(record: PublicationRecord) -> dict[str, Any]:
    """What scripts may rely on, plain data."""
    kept = record.model_dump(mode="json", exclude={"format", "proof", "refused"})
    proof = record.proof
    return kept | {
        "count": proof and proof.count,
        "verified": proof is not None and proof.verified,
        "sampled": proof and proof.sampled,
        "refused": [one.model_dump() for one in record.refused],
    }
