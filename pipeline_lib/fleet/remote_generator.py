"""All generators of a fleet as the one engine of a trainer rank."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.config import RunConfig
from pipeline_lib.generation.packed import pack
from pipeline_lib.generation.protocol import More, OnFinished, Sampling
from pipeline_lib.generation.vllm_engine import configure_environment
from pipeline_lib.records import Completion, FleetEvent
from pipeline_lib.training.ranks import barrier, rank

if TYPE_CHECKING:
    import torch

    from pipeline_lib.fleet.gpu_to_gpu import Sender

FETCH_SECONDS = 5.0


class RemoteGenerator:
    """`call(method, ...)` asks the dispatcher; `put` leaves weights where all engines find them, and returns what stands for them;
    `node` is the address of this rank's node.

    Engines that are waited for get them from GPU to GPU where there is a `sender`.
    All ranks load weights together: what one asks for before, is generated with the old ones, and what it asks for after, with the new.
    """

    def __init__(
        self, call: Callable[..., Any], put: Callable[[Any], Any], node: str = "", sender: "Sender | None" = None
    ) -> None:
        self._call, self._put, self._node, self._sender = call, put, node, sender

    def generate(
        self,
        prompts: Sequence[list[int]],
        sampling: Sampling,
        seeds: Sequence[int],
        on_finished: OnFinished | None = None,
        more: More | None = None,
    ) -> list[Completion]:
        """See `Generator.generate`."""
        assert more is None, "what comes meanwhile is asked for by itself"
        return self.submit(prompts, sampling, seeds)(on_finished)

    def submit(
        self, prompts: Sequence[list[int]], sampling: Sampling, seeds: Sequence[int], batch: int | None = None
    ) -> Callable[[OnFinished | None], list[Completion]]:
        """Begin to generate with the weights that the engines were sent last; what is returned waits for the completions."""
        number = self._call("submit", list(prompts), sampling, list(seeds), batch)

        def collect(on_finished: OnFinished | None) -> list[Completion]:
            completions: dict[int, Completion] = {}
            is_all = False
            while not is_all:
                finished, is_all = self._call("fetch", number, FETCH_SECONDS)
                for place, completion in finished:
                    completions[place] = completion
                    if on_finished:
                        on_finished(place, completion)
            return [completions[place] for place in range(len(prompts))]

        return collect

    def load_weights(self, named_weights: Iterable[tuple[str, "torch.Tensor"]], version: str) -> str:
        """See `Generator.load_weights`."""
        if self._sender:
            self._sender.send(named_weights, version)
        else:
            self.push(named_weights, version)
        return self._digest()

    def push(self, named_weights: Iterable[tuple[str, "torch.Tensor"]], version: str) -> None:
        """Send weights without waiting for the engines, each of which takes them over after what it was asked for before.

        That all hold the same is checked when they have; what is wrong is raised by what is asked for next.
        """
        if rank() == 0:
            self._call("push", version, None, self._put(pack(named_weights)))
        else:
            for _ in named_weights:  # gathered by all ranks together
                pass
        barrier()

    def load_folder(self, folder: Path) -> str:
        """See `Generator.load_folder`."""
        if rank() == 0:
            self._call("push", str(folder), str(folder))
        barrier()
        return self._digest()

    def _digest(self) -> str:
        while (digest := self._call("digest", FETCH_SECONDS)) is None:
            pass
        return str(digest)

    def note(self, event: FleetEvent) -> None:
        """Tell the fleet what this rank has done."""
        self._call("note", replace(event, node=self._node))

    def sleep(self) -> None:
        """See `Generator.sleep`: the engines have GPUs of their own."""

    def drain(self) -> None:
        """See `Generator.drain`: the ranks wait for each other, since the next weights are for all."""
        barrier()

    def close(self) -> None:
        """See `Generator.close`: the fleet ends its generators."""


def remote_generator(config: RunConfig, call: Callable[..., Any], put: Callable[[Any], Any], node: str) -> RemoteGenerator:
    """All generators of a run's fleet."""
    import torch

    generation = config.generation
    if generation.engine != "vllm" or not torch.cuda.is_available():
        return RemoteGenerator(call, put, node)
    configure_environment()
    from pipeline_lib.fleet.gpu_to_gpu import Sender  # vLLM

    return RemoteGenerator(call, put, node, Sender(call, put, generation.tensor_parallel, generation.dtype))
