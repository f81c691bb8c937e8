"""Fit an encoder's weights to a corpus."""

from typing import Any

from prefect import flow

from tasks.config import from_dict
from tasks.train import train as train_model


@flow(name="train", flow_run_name="train {name}", persist_result=False, validate_parameters=False)
def train(name: str, config: dict[str, Any], store_uri: str, wait_s: float) -> dict[str, Any]:
    """One fit; gives what `vectorline train --json` prints."""
    return train_model(from_dict(config, f"the config of {name}"), store_uri, wait_s)
