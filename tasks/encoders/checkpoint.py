"""The file from which a fit that was killed goes on."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tasks import failpoints

logger = logging.getLogger(__name__)

CHECKPOINT_S = 30.0
STATE = "state.safetensors"

State: TypeAlias = Mapping[str, Any]
"""Arrays, and numbers or what else JSON has."""


class Checkpoint:
    """One in a folder of one fit."""

    def __init__(self, folder: Path) -> None:
        """Reads and writes nothing yet."""
        self._path = folder / STATE
        self._kept_at = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """What was kept last; None if nothing was, or it cannot be read."""
        from safetensors import SafetensorError, safe_open

        with suppress(OSError, SafetensorError), safe_open(self._path, "numpy") as file:
            state: dict[str, Any] = json.loads(file.metadata()["numbers"])
            return state | {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return None

    def keep(self, state: Callable[[], State]) -> None:
        """Replaces the file at once by all that the fit needs, if the last time is long ago.

        A disk that takes nothing more costs the checkpoint, not the fit.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        if time.monotonic() - self._kept_at < CHECKPOINT_S:
            return
        held = state()
        arrays = {name: one for name, one in held.items() if isinstance(one, np.ndarray)}
        numbers = {name: one for name, one in held.items() if name not in arrays}
        draft = self._path.with_suffix(".draft")
        self._kept_at = time.monotonic()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            save_file(arrays, draft, {"numbers": json.dumps(numbers)})
            draft.replace(self._path)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            logger.warning("no checkpoint of the fit could be written: %s", error)
        failpoints.reach("checkpoint")
