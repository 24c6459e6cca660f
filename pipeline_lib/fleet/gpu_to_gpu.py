"""Weights from the trainer's GPUs to those of engines elsewhere, by vLLM's transfer over NCCL, whose protocol this follows.

Rank 0 and every worker of the engines that there are make a group. It is made anew when an engine has come or gone.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from vllm.distributed.weight_transfer import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

from pipeline_lib.generation.checksums import Checksums, counting
from pipeline_lib.generation.packed import Coming
from pipeline_lib.training.ranks import gather, rank

LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Source(WeightSource):  # type: ignore[misc]  # vLLM has no types
    """A trainer's weights, which can be gone through again; the first time tells what they are, and their checksums in `dtype`."""

    def __init__(self, weights: Iterable[tuple[str, torch.Tensor]], dtype: torch.dtype) -> None:
        self._weights, self.sent = weights, Checksums()
        self._metadata = [
            ParamMeta(name, weight.dtype, tuple(weight.shape)) for name, weight in counting(weights, dtype, self.sent)
        ]

    def metadata(self) -> list[ParamMeta]:
        """See `WeightSource.metadata`."""
        return self._metadata

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(self._weights)


class Client:
    """What vLLM's sender tells the engines, by way of their dispatcher: they follow each when they are free for it."""

    def __init__(self, call: Callable[..., Any], put: Callable[[Any], Any], num_each: int) -> None:
        self._call, self._put, self._num_each = call, put, num_each
        self.crew: Sequence[str] = ()
        self.version, self.sent = "", Checksums()

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Have the crew join the group."""
        self._call("connect", self.crew, init_info, self._num_each)

    def start_weight_update(self) -> None:
        """Each engine starts by itself."""

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Have the crew receive what is described."""
        self._call("push", self.version, None, self._put(Coming(update_info, self.sent)), self.crew)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Each engine finishes by itself, and its digest is waited for."""


class Sender:
    """All ranks of the trainer, rank 0 of which sends; engines have `num_each` GPUs, and hold weights in `dtype`."""

    def __init__(self, call: Callable[..., Any], put: Callable[[Any], Any], num_each: int, dtype: str) -> None:
        self._call, self._num_each, self._dtype = call, num_each, getattr(torch, dtype)
        self._client = Client(call, put, num_each)
        self._engine: Any = None

    def send(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        """Send weights, which are gone through twice, to all engines that are there; those that come later wait for the next."""
        source = Source(weights, self._dtype)
        crew = gather(self._whole_crew() if rank() == 0 else None)[0] or []
        is_other, self._client.crew = crew != self._client.crew, crew
        self._client.version, self._client.sent = version, source.sent
        with self._ending_without(crew):
            if is_other:
                self._open(source)
            self._engine.source = source
            self._engine.send_weights()

    def _whole_crew(self) -> list[str]:
        while (crew := self._call("crew", LOOK_SECONDS)) is None:
            pass
        return list(crew)

    def _open(self, source: Source) -> None:
        if self._engine:
            self._engine.shutdown()
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        size = 1 + len(self._client.crew) * self._num_each
        info = NCCLTrainerInitInfo(os.environ["MASTER_ADDR"], port, size, rank=rank())
        self._engine = WeightTransferTrainerFactory.trainer_init(info, client=self._client, source=source)

    @contextmanager
    def _ending_without(self, crew: Sequence[str]) -> Iterator[None]:
        """End this process when an engine is lost: NCCL would wait for it for ever. The fleet starts another trainer."""
        is_over = threading.Event()

        def look() -> None:
            while rank() == 0 and not is_over.wait(LOOK_SECONDS):
                if not set(crew) <= set(self._call("engines")):
                    logger.error("a generator was lost while weights were sent to it")
                    os._exit(1)

        threading.Thread(target=look, daemon=True, name="crew").start()
        try:
            yield
        finally:
            is_over.set()
