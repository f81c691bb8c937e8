"""What every model that torch computes needs around it: threads, silence, memory, unit norms."""

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np

from tasks.encoders.base import Vectors
from tasks.errors import ConfigError, EncoderError

_TALKATIVE = ("transformers", "sentence_transformers", "huggingface_hub", "timm", "open_clip")
_LOADING_ERRORS = (
    AssertionError,  # open_clip's and timm's own checks
    EOFError,
    ImportError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,  # torch's word for a file with more than weights in it
)
_NO_MEMORY = "can't allocate memory"  # all that tells it from other errors on a CPU


def require(extra: str, *modules: str) -> None:
    """Raises ConfigError with the line that installs `extra` unless these modules are there."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} cannot be imported: pip install 'vectorline[{extra}]'"
        )


@contextmanager
def loading(what: object, advice: str = "") -> Iterator[None]:
    """What libraries raise at weights or settings that do not fit becomes an EncoderError."""
    from safetensors import SafetensorError

    try:
        yield
    except (*_LOADING_ERRORS, SafetensorError) as error:
        also = f"; {advice}" if advice else ""
        raise EncoderError(f"the model in {what} cannot be loaded: {error}{also}") from error


def limit_threads(threads: int) -> None:
    """Bounds the CPU threads of torch, and of tokenizers if they have not started theirs."""
    import torch

    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
    torch.set_num_threads(threads)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars, reports and warnings of the libraries."""
    if find_spec("huggingface_hub") is not None:
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
    if find_spec("transformers") is not None:
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(logging.ERROR)
    root = logging.getLogger()  # open_clip writes there
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


def within_memory(compute: Callable[[], Vectors], what: str, device: str) -> Vectors:
    """What `compute` gives; if memory does not suffice, a MemoryError about `what`."""
    import torch

    try:
        return compute()
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY in str(error)):
            raise
        memory = MemoryError(f"{what} on {device}: {error}")
    # Outside of the handler: the error's traceback holds on to the tensors of the batch.
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    raise memory


def to_unit(vectors: Vectors) -> Vectors:
    """Rows of unit norm; a row of zeros stays."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(norms == 0, 1, norms)).astype(np.float32)
