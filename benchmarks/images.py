"""Pictures a second against the loop that users write today: open_clip's transform, batches of 32.

Both sides get the same JPEG files of 1 to 2 megapixels and ViT-B-32 with random weights, each in a
process of its own. Ours is measured as a worker has it: one part of the files is prepared while the
one before is encoded. Beside it stand preparation alone and the forward pass alone on the same
cores, and the share that the forward pass has of the device's matrix peak, as a large product of
matrices measures it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MODEL = "ViT-B-32"
DISTINCT = 100  # files; more would only be read again, at the same cost
PART = 128
PLAIN_BATCH = 32
SIDES = ("plain", "forward", "prepare", "ours")


def draw(folder: Path) -> None:
    """JPEG files with the detail of photographs, in four shapes of 1 to 2 megapixels."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    shapes = [(1280, 960), (960, 1280), (1600, 1200), (1200, 900)]
    for number in range(DISTINCT):
        width, height = shapes[number % len(shapes)]
        drawn = np.zeros((height, width, 3))
        for detail in (8, 64, 512):
            blots = rng.integers(0, 256, (detail * height // width, detail, 3), np.uint8)
            drawn += np.asarray(Image.fromarray(blots).resize((width, height))) / 3
        Image.fromarray(drawn.astype(np.uint8)).save(folder / f"{number:03}.jpg", quality=90)


def plain(files: list[Path]) -> dict[str, float]:
    """The loop that users write."""
    import open_clip
    import torch
    from PIL import Image

    model, _, transform = open_clip.create_model_and_transforms(MODEL)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    with torch.inference_mode():
        started = 0.0
        for number, start in enumerate(range(-PLAIN_BATCH, len(files), PLAIN_BATCH)):
            if number == 1:  # the first batch warms up
                started = time.perf_counter()
            part = files[max(0, start) : max(0, start) + PLAIN_BATCH]
            pixels = torch.stack([transform(Image.open(file)) for file in part])
            model.encode_image(pixels.to(device), normalize=True).cpu().numpy()
    return {"rate": len(files) / (time.perf_counter() - started)}


def measure(side: str, files: list[Path], precision: str) -> dict[str, float]:
    """Ours, whole or one of its two halves alone."""
    from tasks.content import Media
    from tasks.encoders.base import Prepared
    from tasks.encoders.batching import Batcher
    from tasks.encoders.open_clip import OpenClipEncoder

    encoder = OpenClipEncoder(MODEL, seed=0)
    chosen = encoder.precision(precision)
    encoder.load(chosen)
    batcher = Batcher(encoder)

    def prepare(part: list[Path]) -> list[Prepared]:
        return encoder.prepare([Media("image", file.read_bytes()) for file in part])

    first = prepare(files[:PART])
    batcher.encode(first)
    parts = [files[start : start + PART] for start in range(0, len(files), PART)]
    started = time.perf_counter()
    if side == "prepare":
        for part in parts:
            prepare(part)
    elif side == "forward":
        for part in parts:
            batcher.encode(first[: len(part)])
    else:
        with ThreadPoolExecutor(1) as beside:
            waiting = beside.submit(prepare, parts[0])
            for following in [*parts[1:], []]:
                ready, waiting = waiting.result(), beside.submit(prepare, following)
                batcher.encode(ready)
    rate = len(files) / (time.perf_counter() - started)
    share = rate * flops() / peak(chosen.value) if side == "forward" else 0.0
    return {"rate": rate, "share_of_peak": share}


def flops() -> float:
    """Of one picture's forward pass."""
    import open_clip
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = open_clip.create_model(MODEL).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.encode_image(torch.zeros(1, 3, 224, 224))
    return float(counter.get_total_flops())


def peak(precision: str) -> float:
    """Operations a second of the best of some products of two matrices."""
    import torch

    cuda = torch.cuda.is_available()
    side = 8_192 if cuda else 2_048
    device = "cuda" if cuda else "cpu"
    matrix = torch.randn(side, side, device=device, dtype=getattr(torch, precision))
    best = 0.0
    for _ in range(10):
        started = time.perf_counter()
        product = matrix @ matrix
        product[0, 0].item()  # waits for the device
        best = max(best, 2 * side**3 / (time.perf_counter() - started))
    return best


def compare(n: int, precision: str = "auto") -> dict[str, Any]:
    """Each side in a process of its own; rates, and what they are of each other."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder))
        for side in SIDES:
            command = [sys.executable, "-m", "benchmarks.images", "--side", side]
            command += ["--folder", folder, "--n", str(n), "--precision", precision]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[side] = json.loads(done.stdout.splitlines()[-1])
    forward, prepared, ours = (found[side]["rate"] for side in ("forward", "prepare", "ours"))
    found["times_plain"] = ours / found["plain"]["rate"]
    found["of_the_sum"] = ours * (1 / forward + 1 / prepared)
    return found


def show(found: dict[str, Any], n: int) -> None:
    """The table."""
    print(f"\n{n:,} JPEGs of 1 to 2 megapixels, {MODEL}, pictures a second", flush=True)
    print(f"  open_clip's transform, batches of 32, float32  {found['plain']['rate']:8.1f}")
    print(f"  vectorline                                     {found['ours']['rate']:8.1f}", end="")
    print(f"   x {found['times_plain']:.2f}")
    print(f"  its preparation alone                          {found['prepare']['rate']:8.1f}")
    print(
        f"  its forward pass alone                         {found['forward']['rate']:8.1f}", end=""
    )
    print(f"   {found['forward']['share_of_peak']:.0%} of the matrix peak")
    print(f"  of 1 / (1/forward + 1/preparation)             {found['of_the_sum']:8.2f}")


def main() -> None:
    """The comparison, or one side of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2_000)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.side is None:
        show(compare(args.n, args.precision), args.n)
        return
    known = sorted(args.folder.glob("*.jpg"))
    files = [known[number % len(known)] for number in range(args.n)]
    side = plain(files) if args.side == "plain" else measure(args.side, files, args.precision)
    print(json.dumps(side))


if __name__ == "__main__":
    main()
