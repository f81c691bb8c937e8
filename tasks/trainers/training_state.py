"""Where a training stands, on disk: a file that is whole or not there, without pickle."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_MODEL, _OPTIMIZER = "model.", "optimizer."


def save_state(
    path: Path,
    model: "torch.nn.Module",
    optimizer: "torch.optim.Optimizer",
    progress: Mapping[str, object],
) -> None:
    """Replaces the file at once by weights, the optimizer's moments and `progress` (plain data)."""
    from safetensors.torch import save

    tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{i}.{name}": moment for name, moment in moments.items()}
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {"progress": json.dumps(progress)}
    replace_file(path, save(whole, metadata))


def load_state(path: Path, model: "torch.nn.Module", optimizer: "torch.optim.Optimizer") -> None:
    """Gives model and optimizer what the file holds."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    model.load_state_dict(
        {name[len(_MODEL) :]: one for name, one in tensors.items() if name.startswith(_MODEL)}
    )
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, moment in tensors.items():
        if name.startswith(_OPTIMIZER):
            i, kind = name[len(_OPTIMIZER) :].split(".")
            state.setdefault(int(i), {})[kind] = moment
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def read_progress(path: Path) -> Any:  # noqa: ANN401 (plain data, as JSON gives it)
    """What `save_state` was given as `progress`."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["progress"])


def replace_file(path: Path, content: bytes) -> None:
    """Writes another file and puts it in place: nobody ever sees half of it."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
