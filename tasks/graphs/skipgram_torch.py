"""Skip-gram in torch: many centres in one step, for a GPU. Imported where that is asked for."""

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Vectors: TypeAlias = npt.NDArray[np.float32]

_MOST_CENTRES = 1 << 14  # of a step: 170 MB for each of its two large arrays at dim 128, window 10
_LEAST_CENTRES = 64
_NODES_PER_CENTRE = 4
_MOST_PAIRS = 32


class Torch:
    """Trains on batches of walks, all their pairs from the same vectors.

    In a batch a node of high degree stands in thousands of pairs. Their steps would add up to one
    that is far too long: a row moves at most as far as `_MOST_PAIRS` of its average steps.
    """

    def __init__(
        self,
        table_in: Vectors,
        table_out: Vectors,
        weights: npt.NDArray[np.float64],
        window: int,
        negatives: int,
        device: str,
        threads: int,
    ) -> None:
        """Negatives are drawn in proportion to `weights`; `threads` are torch's on a CPU."""
        import torch

        torch.set_num_threads(threads)
        self._in = torch.from_numpy(table_in).to(device)
        self._out = torch.from_numpy(table_out).to(device)
        self._summed = torch.from_numpy(weights.cumsum()).to(device)
        self._offsets = torch.tensor([*range(-window, 0), *range(1, window + 1)], device=device)
        self._window = window
        self._negatives = negatives
        self._centres = min(_MOST_CENTRES, max(_LEAST_CENTRES, len(table_in) // _NODES_PER_CENTRE))
        self._random = torch.Generator(device)

    def tables(self) -> tuple[Vectors, Vectors]:
        """The tables, on the CPU."""
        return self._in.cpu().numpy(), self._out.cpu().numpy()

    def learn(
        self,
        walks: npt.NDArray[np.signedinteger[Any]],
        lengths: npt.NDArray[np.int64],
        rates: Vectors,
        stream: int,
    ) -> tuple[float, int]:
        """Random numbers come from `stream` alone: the same blocks give the same ones."""
        import torch

        del lengths
        self._random.manual_seed(stream % 2**63)
        device = self._in.device
        totals = torch.zeros(2, dtype=torch.float64, device=device)
        n_rows = max(1, self._centres // walks.shape[1])
        for first in range(0, len(walks), n_rows):
            rows = slice(first, first + n_rows)
            nodes = torch.from_numpy(walks[rows].astype(np.int64)).to(device)
            totals += self._step(nodes, torch.from_numpy(rates[rows]).to(device))
        return float(totals[0]), int(totals[1])

    def _step(self, walks: "torch.Tensor", rates: "torch.Tensor") -> "torch.Tensor":
        """One batch of walks; gives the sum of the pairs' losses, and the pairs."""
        import torch
        from torch.nn.functional import logsigmoid

        contexts, is_pair = self._contexts(walks)
        kept = is_pair.any(1)
        contexts, is_pair = contexts[kept], is_pair[kept]
        centres = walks.flatten()[kept][:, None]
        rate = rates.repeat_interleave(walks.shape[1])[kept][:, None, None]
        targets = torch.cat([centres, self._draw(len(centres))], 1)
        is_target = torch.cat([torch.ones_like(centres), targets[:, 1:] != centres], 1).bool()

        inputs, outputs = self._in[contexts], self._out[targets]
        products = inputs @ outputs.mT
        sign = torch.full_like(products[:1, :1], -1)
        sign[..., 0] = 1
        counts = (is_pair[:, :, None] & is_target[:, None]).float()
        losses = -logsigmoid(products * sign) * counts
        gains = sign * torch.sigmoid(-products * sign) * counts * rate
        pairs = is_pair.sum(1, dtype=torch.float32)[:, None].expand_as(targets)
        one = torch.ones(contexts.shape, device=walks.device)
        _add(self._in, contexts[is_pair], (gains @ outputs)[is_pair], one[is_pair])
        _add(self._out, targets[is_target], (gains.mT @ inputs)[is_target], pairs[is_target])
        return torch.stack([losses.sum(dtype=torch.float64), is_pair.sum(dtype=torch.float64)])

    def _contexts(self, walks: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
        """Nodes around each centre, shape (centres, 2 window), and which of them are contexts."""
        import torch

        reach = torch.randint(
            1, self._window + 1, walks.shape, generator=self._random, device=walks.device
        )
        places = torch.arange(walks.shape[1], device=walks.device)[:, None] + self._offsets
        inside = (places >= 0) & (places < walks.shape[1])
        contexts = walks[:, places.clamp(0, walks.shape[1] - 1)]
        near = self._offsets.abs() <= reach[..., None]
        is_pair = inside & near & (contexts >= 0) & (walks >= 0)[..., None]
        return contexts.flatten(0, 1).clamp(min=0), is_pair.flatten(0, 1)

    def _draw(self, n_centres: int) -> "torch.Tensor":
        """The negatives of each centre, shape (centres, negatives)."""
        import torch

        chance = torch.rand(
            (n_centres, self._negatives),
            generator=self._random,
            device=self._summed.device,
            dtype=torch.float64,
        )
        return torch.searchsorted(self._summed, chance * self._summed[-1], right=True)


def _add(
    table: "torch.Tensor", rows: "torch.Tensor", steps: "torch.Tensor", pairs: "torch.Tensor"
) -> None:
    """Adds to each row its steps, each of which is that of so many pairs."""
    import torch

    nodes, place = torch.unique(rows, return_inverse=True)
    n_pairs = torch.zeros(len(nodes), device=table.device).index_add_(0, place, pairs)
    share = (_MOST_PAIRS / n_pairs).clamp(max=1)
    table.index_add_(0, rows, steps * share[place][:, None])
