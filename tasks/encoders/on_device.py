"""What encoders with weights share: a precision, a device, and a model that is loaded once."""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, Protocol, TypeVar

from tasks.encoders.base import Precision
from tasks.encoders.devices import best_device, choose_precision, good_batch
from tasks.encoders.running import limit_threads
from tasks.errors import EncoderError


class Placed(Protocol):
    """A loaded model, and the device that it is on."""

    device: str


M = TypeVar("M", bound=Placed)


class OnDevice(ABC, Generic[M]):
    """The part of an encoder that loads its model and says how much of it makes a good batch."""

    cost_of_token: ClassVar[int] = 1
    """What a token costs, where the unit of cost is another one."""

    _loaded: M | None = None

    @property
    def batch_cost(self) -> int:
        """Cost of a good batch on the device."""
        device = self._loaded.device if self._loaded else best_device()
        return good_batch(device) * self.cost_of_token

    def precision(self, wanted: str, device: str | None = None) -> Precision:
        """What `auto` means on the best device here."""
        return choose_precision(wanted, device)

    def load(
        self, precision: Precision, device: str | None = None, threads: int | None = None
    ) -> None:
        """Loads the weights, from the hub if they are not here yet."""
        if threads is not None:
            limit_threads(threads)
        self._loaded = self._load(precision, device or best_device(), threads)

    @abstractmethod
    def _load(self, precision: Precision, device: str, threads: int | None) -> M:
        """The model on the device, which prepares with so many threads."""

    def _ready(self) -> M:
        if self._loaded is None:
            raise EncoderError(f"{self!r} was not loaded: call load first")
        return self._loaded
