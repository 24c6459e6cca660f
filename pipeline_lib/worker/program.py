"""The worker program: one rank of an SPMD group under the torch or DeepSpeed launcher, or the only one, without.

It starts the engine once, then takes jobs from its folder until told to close or until the process that owns it is gone. Every
rank reads the same job files; rank 0 writes progress and results.
"""

import argparse
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from pipeline_lib.config import RunConfig, stored_config
from pipeline_lib.jobs import GenerateJob, Job, read_job, read_json, read_prompts, write_failure, write_json
from pipeline_lib.messages.faults import explain, will_repeat
from pipeline_lib.processes import collect_garbage_rarely, end_without_owner, keep_what_has_come, signal_when_parent_dies

if TYPE_CHECKING:
    from pipeline_lib.generation.protocol import Generator

POLL_SECONDS = 0.05
PROGRESS_SECONDS = 0.5
# The engine's and the trainer's libraries import these because they are there: two fifths of what a worker's start takes.
UNUSED = ("cv2", "mlflow", "ray", "redis", "scipy", "sklearn")

logger = logging.getLogger(__name__)


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m pipeline_lib.worker.program")
    parser.add_argument("--folder", type=Path, required=True, help="where jobs come from and results go to")
    parser.add_argument("--owner", type=int, required=True, help="pid without which this worker has no purpose")
    # The launchers add arguments of their own (--local_rank), which the environment repeats.
    arguments, _ = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    end_with_owner(arguments.owner)
    collect_garbage_rarely()
    try:
        serve(arguments.folder)
    except Exception as error:
        rank = int(os.environ.get("RANK", "0"))
        # First of all: on a full disk the log takes nothing any more.
        write_failure(arguments.folder, rank, explain(error, arguments.folder), traceback.format_exc(), will_repeat(error))
        logger.error("rank %d failed", rank, exc_info=True)
        sys.exit(1)


def end_with_owner(owner: int) -> None:
    """End this process when its launcher or its owner dies: an orphan would hold the accelerator."""
    if os.getppid() != owner:  # the system's signal comes when the *thread* ends that started this process: the owner has many
        signal_when_parent_dies(signal.SIGKILL)
    try:
        process = psutil.Process(owner)
    except psutil.NoSuchProcess:
        os._exit(1)
    end_without_owner(lambda: process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def serve(folder: Path) -> None:
    """Start the engine and run jobs one after another."""
    started = time.perf_counter()
    settings = read_json(folder / "worker.json")
    config = stored_config(settings["config"], RunConfig)
    with hidden(*UNUSED):
        worker = Worker(config, settings["base_folder"], folder, own_engine)
    logger.info("engine ready after %.1f s", time.perf_counter() - started)
    keep_what_has_come()
    number, is_prepared = 0, not settings["will_train"]
    while not (folder / "close").exists():
        path = folder / f"{number:04d}.json"
        if not path.exists():
            if is_prepared:
                time.sleep(POLL_SECONDS)
            else:
                import_training()
                is_prepared = True
            continue
        worker.run(number, path)
        number += 1
    worker.close()


def import_training() -> None:
    """What takes seconds to import, while no job waits."""
    if "pipeline_lib.training.loop" in sys.modules:
        return
    with hidden(*UNUSED):
        import pipeline_lib.training.loop  # noqa: F401
    keep_what_has_come()


@contextmanager
def hidden(*modules: str) -> Iterator[None]:
    """Modules that have not been imported yet look as if they were not installed; a user's reward may import them later."""
    names = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: what an import of it fails on
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def own_engine(config: RunConfig, base_folder: str, world_size: int) -> "Generator":
    """The engine of this rank, or its part of one."""
    from pipeline_lib.generation.engines import make_generator
    from pipeline_lib.training.ranks import generation_group

    tensor_parallel = config.generation.tensor_parallel
    ranks = generation_group(tensor_parallel) if tensor_parallel > 1 else None
    return make_generator(base_folder, config.generation, config.max_model_tokens, config.model_revision, world_size, ranks)


class Worker:
    """One rank: what it generates with, made by `make_generator` from configuration, base and world size; and the tokenizer."""

    def __init__(
        self, config: RunConfig, base_folder: str, folder: Path, make_generator: "Callable[[RunConfig, str, int], Generator]"
    ) -> None:
        from pipeline_lib.training.ranks import init_distributed

        self._rank, self._world_size = init_distributed()
        from pipeline_lib.prompts.chat_templates import load_tokenizer

        self._folder = folder
        self._base_folder = base_folder
        self._max_prompt_tokens = config.generation.max_prompt_tokens
        self._weights: str | None = "as loaded"  # nothing that a job names: the first asks for a proof, whatever it names
        self._tokenizer: Any = load_tokenizer(base_folder, config)
        self._generator = make_generator(config, base_folder, self._world_size)

    def run(self, number: int, path: Path) -> None:
        """Run one job; its error ends the process: the engine's state is then unknown."""
        from pipeline_lib.training.ranks import wait_at_most

        wait_at_most()
        result = self._dispatch(number, read_job(path))
        if self._rank == 0:
            write_json(self._folder / f"{number:04d}.result.json", {"value": result})

    def _dispatch(self, number: int, job: Job) -> Any:
        if isinstance(job, GenerateJob):
            return self._generate(number, job)
        import_training()
        from pipeline_lib.training.loop import train

        self._weights = "training"  # whatever the engine holds afterwards, it is no known folder
        return train(job, self._generator, self._tokenizer, lambda progress: self._report(number, progress))

    def _generate(self, number: int, job: GenerateJob) -> dict[str, Any]:
        from pipeline_lib.generation.parity import require_one_digest
        from pipeline_lib.generation.sampling import deal_groups, missing_groups, prompts_that_fit, write_shards
        from pipeline_lib.training.ranks import barrier, gather

        # A benchmark is judged whole or not at all; of the training prompts those that are too long are not profiled.
        prompts = {
            unit.prompts_file: prompts_that_fit(
                self._tokenizer,
                unit.source,
                read_prompts(Path(unit.prompts_file)),
                self._max_prompt_tokens,
                skip=unit.stage == "profile",
            )
            for unit in job.units
        }
        total = sum(len(prompts[unit.prompts_file]) * unit.num_samples for unit in job.units)
        started, done, reported, num_tokens = time.perf_counter(), 0, 0.0, 0

        def on_finished(count: int) -> None:
            nonlocal done, reported
            done += count * self._world_size
            if time.perf_counter() - reported > PROGRESS_SECONDS:
                reported = time.perf_counter()
                self._report(number, {"done": min(done, total), "total": total, "seconds": reported - started})

        own = [missing_groups(unit, prompts[unit.prompts_file]) for unit in job.units] if self._rank == 0 else None
        missing = gather(own)[0] or []
        to_do = sum(len(groups) * unit.num_samples for groups, unit in zip(missing, job.units, strict=True))
        on_finished((total - to_do) // self._world_size)
        for unit, groups in zip(job.units, deal_groups(missing, self._rank, self._world_size), strict=True):
            if unit.weights != self._weights:
                folder = unit.weights or self._base_folder
                require_one_digest(gather(self._generator.load_folder(Path(folder))), folder)
                self._weights = unit.weights
            num_tokens += write_shards(self._generator, self._tokenizer, unit, prompts[unit.prompts_file], groups, on_finished)
            self._generator.drain()
        barrier()
        return {"rollouts": total, "num_tokens": num_tokens, "seconds": time.perf_counter() - started}

    def _report(self, number: int, progress: dict[str, Any]) -> None:
        if self._rank == 0:
            write_json(self._folder / f"{number:04d}.progress.json", progress)

    def close(self) -> None:
        """Release the engine."""
        self._generator.close()


if __name__ == "__main__":
    main()
    # Engines leave threads behind that can keep a finished process alive.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
