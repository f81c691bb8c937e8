"""Publish: let a vector store downstream hold what serves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.config import SinkConfig
from schemas.publication import PublicationRecord
from tasks.errors import ConfigError, Interrupted, SinkError, VectorlineError
from tasks.opening import opened
from tasks.patient import PatientSink
from tasks.progress import Report, listener
from tasks.publishing import Publication
from tasks.pushing import Patience
from tasks.run import Stop
from tasks.sinks.waiting import waits_by
from tasks.space import open_space
from tasks.standing import Standing, Wish
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
    label, listen = config.label, listener.get()  # which threads have not

    def heed() -> None:
        if stop.is_set():
            raise Interrupted(f"stopped publishing to {label!r}: the next one goes on from here")

    def check() -> None:
        held.check()
        heed()

    def report(stage: str, done: int, total: int) -> None:
        listen(Report(stage, done, total, unit=UNIT))

    def tell(said: str) -> None:
        report(f"{label} does not answer or asks to wait: {said}", 0, 0)

    heed()
    with (
        lease.lease(store_uri, f"{space}.to-{label}", options.wait_s, lost=stop) as held,
        _heeding(check),
    ):
        report(f"open {label}", 0, 0)
        serving = open_space(space, store_uri, "serving")
        patience = Patience(check, stop.wait, tell)
        with opened(config, secret_of_block) as (sink, hidden), waits_by(patience.pause):
            wish = Wish(
                serving,
                config,
                allow_removals=options.allow_removals,
                repair=options.repair,
                patience=patience,
                report=report,
                hide=hidden.hide,
            )
            return Publication(Standing(wish, PatientSink(sink, wish.patience))).run()


@contextmanager
def _heeding(check: Callable[[], None]) -> Iterator[None]:
    """Lets a wish to stop, which `check` raises, come before what a store says of its last call."""
    try:
        yield
    except SinkError:
        check()
        raise


def secret_of_block(name: str, key: str) -> str:
    """What a Secret block holds, on the server that Prefect's settings name.

    Raises ConfigError where there is no such block or server, SinkError where it does not answer.
    """
    from httpx import HTTPError
    from prefect.blocks.system import Secret
    from prefect.settings import PREFECT_API_URL

    wanted, url = f"{key} comes from Prefect block {name!r}", PREFECT_API_URL.value()
    if url is None:
        raise ConfigError(
            f"{wanted}, and PREFECT_API_URL is not set: let it name the Prefect server that has it"
        )
    try:
        load: Callable[..., Any] = Secret.load  # whose `_sync` its types do not know
        held = load(name.partition("/")[2], _sync=True).get()
    except HTTPError as error:
        raise SinkError(
            f"{wanted}, and the Prefect server at {url} does not give it ({error}): start that "
            "server, and look at PREFECT_API_URL and PREFECT_API_KEY"
        ) from None
    except ValueError:
        raise ConfigError(
            f"{wanted}, which the Prefect server at {url} does not have: "
            "`prefect block create secret` leads to the form that makes it"
        ) from None
    if not isinstance(held, str):
        raise ConfigError(f"{wanted}, which holds no text, but {type(held).__name__}")
    return held


def told(record: PublicationRecord) -> dict[str, Any]:
    """What scripts may rely on, plain data."""
    kept = record.model_dump(mode="json", exclude={"format", "proof", "refused"})
    proof = record.proof
    return kept | {
        "count": proof and proof.count,
        "verified": proof is not None and proof.verified,
        "sampled": proof and proof.sampled,
        "refused": [one.model_dump() for one in record.refused],
        "error": None,
    }


def told_failure(config: SinkConfig, error: VectorlineError) -> dict[str, Any]:
    """The same of a sink that could not be brought to the version."""
    message = str(error)
    for note in getattr(error, "__notes__", ()):
        message += f" {note}" if message.endswith((".", "?")) else f". {note}"
    nothing = dict.fromkeys(("from_version", "to_version", "count", "sampled", "seconds", "recall"))
    return nothing | {
        "sink": config.label,
        "use": config.use,
        "upserted": 0,
        "deleted": 0,
        "n_refused": 0,
        "refused": [],
        "verified": False,
        "error": {
            "kind": type(error).__name__,
            "message": message,
            "exit_code": error.exit_code,
        },
    }
