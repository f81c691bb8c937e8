"""Train: fit an encoder's weights to a corpus and keep them in the store."""

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.config import Config, TrainConfig
from tasks import plugins, trained
from tasks.config import build_sources
from tasks.digests import digest_json
from tasks.encoders.remembered import cache_folder
from tasks.encoders.word_encoder import WordEncoder
from tasks.errors import ConfigError
from tasks.secrets import resolve_secrets
from tasks.sources.base import Described, File
from tasks.store import models
from tasks.store.lease import lease
from tasks.trainers.contrastive import ContrastiveTrainer
from tasks.trainers.word_vectors import WordVectors
from tasks.training import Corpus, Made
from tasks.training_pairs import fit_pairs
from tasks.training_words import fit_words, import_words


@task(name="train", persist_result=False, cache_policy=NO_CACHE)
def train(config: Config, store_uri: str, wait_s: float) -> dict[str, Any]:
    """Fits what `train:` names, and gives what is kept of it.

    A fit that was killed goes on where it was when it is called again with the same config and
    corpus. Raises ConfigError for a config without `train:` or with a name that is taken,
    SourceError for a corpus from which nothing can be learned, LeaseHeld while the same name is
    trained.
    """
    started = time.monotonic()
    wanted = config.train
    if wanted is None:
        raise ConfigError("the config has no `train:`: it says what to fit, and its name")
    trained.check_model_name(wanted.name, store_uri)
    with lease(store_uri, f"models.{wanted.name}", wait_s) as held:
        sources = build_sources(config)
        listed = [source.files() for source in sources]
        places = [one.model_dump(mode="json") for one in config.source]
        digest = digest_json([places, [[_seen(one) for one in own] for own in listed]])
        written = wanted.model_dump(mode="json")
        key = digest_json([written, digest.hex()]).hex()
        folder = cache_folder() / "train" / key
        made = _fit(wanted, Corpus(sources, listed, places), folder)
        held.check()
        model = models.put(
            store_uri,
            made.folder,
            {
                "name": wanted.name,
                "train": written,
                "sources": places if made.read is None else [],
                "corpus_digest": made.read or digest.hex(),
                "records": made.n_records,
                "metrics": made.metrics,
                "created_at": datetime.now(UTC).isoformat(),
            },
        )
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "name": model.name,
        "digest": model.digest,
        "records": made.n_records,
        "metrics": made.metrics,
        "seconds": time.monotonic() - started,
        "use": f"trained:{model.name}",
        "encoder": made.encoder,
    }


def _fit(wanted: TrainConfig, corpus: Corpus, folder: Path) -> Made:
    trainer = plugins.load("trainers", wanted.use)(**resolve_secrets(wanted.arguments))
    if isinstance(trainer, ContrastiveTrainer):
        return fit_pairs(trainer, corpus, folder)
    if isinstance(trainer, WordEncoder):
        return fit_words(trainer, corpus, folder)
    if isinstance(trainer, WordVectors):
        return import_words(trainer, folder)
    raise ConfigError(
        f"train.use = {wanted.use!r} is no trainer: it is none of pictures with captions, and no "
        "encoder that is fitted to words"
    )


def _seen(file: File) -> list[object]:
    """What changes with a file, and with what a table says of it."""
    records = file.records if isinstance(file, Described) else ()
    told = [[one.id, dict(one.metadata), str(one.problem)] for one in records]
    return [file.uri, file.state or file.stamp, told]
