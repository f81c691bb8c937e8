"""What this machine computes with: device, precision, size of a batch."""

import ctypes
import os
import sys

from tasks.encoders.base import Precision
from tasks.errors import ConfigError, EncoderError

_CPU_TOKENS = 2_048
_MPS_TOKENS = 4_096
_CUDA_TOKENS_PER_GIB = 2_048
_MOST_CUDA_TOKENS = 65_536
_FIRST_CUDA_WITH_BFLOAT16 = (8, 0)
_LARGE_BLOCK = 32 * 2**20  # glibc allows no more
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def best_device() -> str:
    """`cuda` before `mps` before `cpu`."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(device: str) -> None:
    """Raises ConfigError unless torch has this device here."""
    try:
        import torch
    except ImportError as error:
        raise ConfigError(f"encoder.device is {device!r}, which needs torch: {error}") from error
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"encoder.device is {device!r}: cpu or cuda can be asked")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"encoder.device is {device!r}, and torch finds no GPU here")


def choose_precision(wanted: str, device: str | None = None) -> Precision:
    """What `auto` means on a device, by default the best one here, or `wanted` itself.

    Raises EncoderError for a word that is no precision. A CPU gets bfloat16 only with instructions
    for it: without them it is far slower than float32.
    """
    if wanted != "auto":
        try:
            return Precision(wanted)
        except ValueError:
            allowed = ", ".join(("auto", *Precision))
            raise EncoderError(f"precision {wanted!r} is none of {allowed}") from None
    device = device or best_device()
    if device.startswith("cuda"):
        return _cuda_precision()
    return Precision.BFLOAT16 if device == "cpu" and _cpu_has_bfloat16() else Precision.FLOAT32


def good_batch(device: str) -> int:
    """Padded tokens of a good batch.

    2,048 on a CPU, whose caches bigger ones leave. On CUDA 2,048 for each GiB of the device and at
    most 65,536, where even small models keep a GPU busy.
    """
    if device.startswith("cuda"):
        import torch

        memory_gib = torch.cuda.get_device_properties(device).total_memory / 2**30
        return min(_MOST_CUDA_TOKENS, max(1, round(memory_gib)) * _CUDA_TOKENS_PER_GIB)
    return _MPS_TOKENS if device == "mps" else _CPU_TOKENS


def keep_large_blocks() -> None:
    """Tells glibc to keep freed blocks of up to 32 MiB for the next ones, as torch's are.

    A pool starts its workers with MALLOC_MMAP_THRESHOLD_ set so low that memory is given back at
    once. A torch model on a CPU, whose intermediate results are of some megabytes, loses 20 to 30 %
    of its speed with it. Where that is not set, nothing is changed.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ and sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: None)  # musl has none
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE_BLOCK)


def _cuda_precision() -> Precision:
    import torch

    modern = torch.cuda.get_device_capability() >= _FIRST_CUDA_WITH_BFLOAT16
    return Precision.BFLOAT16 if modern else Precision.FLOAT16


def _cpu_has_bfloat16() -> bool:
    import torch

    has = torch.cpu.get_capabilities()
    return bool(has.get("amx_bf16") or has.get("avx512_bf16"))
