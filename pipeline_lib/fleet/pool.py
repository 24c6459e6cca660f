"""Some workers shared by many short runs: an engine takes longer to start than a short run to train."""

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline_lib.config import RunConfig, digest
from pipeline_lib.fleet.fleets import Fleet, make_fleet
from pipeline_lib.worker.process import WorkerFailed


class WorkerPool:
    """`num_lanes` places for a worker; one is started when a run needs it, and restarted when a run needs another engine.

    `configs` are the runs to come: an engine is made large enough for all that can share it.
    """

    def __init__(self, configs: Sequence[RunConfig], base_folders: dict[str, str], home: Path, num_lanes: int) -> None:
        self._home = home
        self._base_folders = base_folders
        self._largest: dict[str, RunConfig] = {}
        for config in configs:
            known = self._largest.get(_engine_key(config))
            if known is None or config.max_model_tokens > known.max_model_tokens:
                self._largest[_engine_key(config)] = config
        self._lanes: queue.Queue[tuple[str, Fleet] | None] = queue.Queue()
        for _ in range(num_lanes):
            self._lanes.put(None)
        self._at_work: set[Fleet] = set()
        self._is_ended = False

    @contextmanager
    def worker(self, config: RunConfig) -> Iterator[Fleet]:
        """A worker for one run, alone; waits until a lane is free. Raises WorkerFailed when the pool was ended."""
        lane, key = self._lanes.get(), _engine_key(config)
        try:
            self._check()
            if lane is None or lane[0] != key or not lane[1].is_running:
                if lane is not None:
                    lane[1].close()
                lane = None
                model = _with_one_share(self._largest[key])
                worker = make_fleet(model, self._base_folders[model.base_model], self._home)
                lane = (key, worker)
                worker.start()
            self._at_work.add(lane[1])
            self._check()
            yield lane[1]
        finally:
            if lane is not None:
                self._at_work.discard(lane[1])
            self._lanes.put(lane)

    def _check(self) -> None:
        if self._is_ended:
            raise WorkerFailed("the workers were terminated")

    def end(self) -> None:
        """End the workers that are at work, from another thread: their runs fail, and no other run gets a worker."""
        self._is_ended = True
        for worker in list(self._at_work):
            worker.kill()

    def close(self, at_once: bool = False) -> None:
        """End the workers of all free lanes."""
        while not self._lanes.empty():
            lane = self._lanes.get_nowait()
            if lane is not None:
                if at_once:
                    lane[1].kill()
                else:
                    lane[1].close()


def _with_one_share(config: RunConfig) -> RunConfig:
    """A larger share for an engine alone would cost short runs two starts of a worker each."""
    return config.model_copy(update={"generation": config.generation.model_copy(update={"gpu_memory_utilization_alone": None})})


def _engine_key(config: RunConfig) -> str:
    compute = config.compute
    parts = [config.base_model, config.model_revision, config.generation.model_dump(), compute.num_processes, compute.launcher]
    return digest([*parts, compute.num_threads, config.fleet.model_dump(), config.chat_template])
