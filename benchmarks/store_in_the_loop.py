"""What store and tracker cost a training step, and that slow servers cost it nothing.

    python benchmarks/store_in_the_loop.py [--no-servers]     # two smoke runs: some minutes on two cores, no network, no GPU

A step of 3,072 rollouts of 4,000 tokens is written as a worker does it, which may take 2 % of a step of 60 s (the least of five
counts: whatever else runs adds to it). Then the smoke run trains twice, with MLflow's and Prefect's servers on 127.0.0.1 behind proxies
that let each call through at once, or after 2 s: the steps may take a fifth of a second longer at most.
"""

import argparse
import asyncio
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from targets import Targets

from pipeline_lib.records import Rollout, TrainingStep
from pipeline_lib.services.service import Service
from pipeline_lib.store.database import Store
from pipeline_lib.store.rollout_files import write_rollout_file
from pipeline_lib.training.step_folder import StepFolder

REPOSITORY = Path(__file__).resolve().parents[1]
NUM_ROLLOUTS, TOKENS, WORDS_A_TOKEN, STEP_SECONDS, SHARE = 3072, 4000, 0.7, 60.0, 0.02
DELAY_SECONDS, LATER_SECONDS, STEPS = 2.0, 0.2, 12
SETTINGS = (f"train.steps={STEPS}", "checkpoint.every_steps=100", "generation.engine=transformers", "train.measure_kl=false")


def step_rollouts(step: int) -> list[Rollout]:
    """A step's rollouts, with texts of words as frequent as in a language."""
    draw = random.Random(step)
    words = ["".join(draw.choices("etaoinshrdlucmfw", k=draw.randint(2, 9))) for _ in range(4000)] + [
        str(n) for n in range(1000)
    ]
    weights = [1 / (place + 3) for place in range(len(words))]

    def text() -> str:
        return " ".join(draw.choices(words, weights, k=int(TOKENS * WORDS_A_TOKEN)))

    return [
        Rollout("run", "train", step, "model", "math", f"p{n // 16}", n % 16, TOKENS, "stop", "42", True, "", text(), 1.0, 0.5)
        for n in range(NUM_ROLLOUTS)
    ]


def seconds_of_writing(folder: Path) -> tuple[float, float]:
    """The least seconds of five of what the worker does at a step's end, and of what the process that follows does."""
    store, steps = Store(folder), StepFolder(folder / "steps")
    steps.path.mkdir()
    store.named("named_runs")
    written, noted = [], []
    for step in range(1, 6):
        rollouts = step_rollouts(step)
        values: dict[str, Any] = {field.name: 1 for field in fields(TrainingStep)}
        started = time.perf_counter()
        write_rollout_file(store.rollouts_folder / "run" / "train" / f"step-{step:05d}-rank-0.parquet", rollouts)
        steps.write_step(TrainingStep(**{**values, "run_id": "run", "step": step}))
        written.append(time.perf_counter() - started)
        store.write("training_steps", steps.new_rows())
        store.replace("alarms", {"run_id": "run"}, [])
        steps.mark_seen()
        noted.append(time.perf_counter() - started - written[-1])
    return min(written), min(noted)


class DelayingProxy:
    """Passes what comes to its port on to another, each request after some seconds; answers at once. WebSockets pass, too."""

    def __init__(self, port: int) -> None:
        self._target, self.delay_seconds, self.calls = port, 0.0, 0
        self.port = free_port()
        is_ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(is_ready)), daemon=True).start()
        is_ready.wait()

    async def _serve(self, is_ready: threading.Event) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        is_ready.set()
        await server.serve_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(
            self._pass(reader, there_writer, True), self._pass(there_reader, writer, False), return_exceptions=True
        )

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_request: bool) -> None:
        try:
            while content := await reader.read(1 << 20):
                if is_request:
                    self.calls += 1
                    await asyncio.sleep(self.delay_seconds)
                writer.write(content)
                await writer.drain()
        finally:
            writer.close()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def servers(folder: Path) -> Iterator[tuple[DelayingProxy, DelayingProxy]]:
    """Prefect's and MLflow's servers, each behind a proxy."""
    ports = free_port(), free_port()
    folder.mkdir()
    own = {
        "PREFECT_HOME": str(folder), "PREFECT_SERVER_API_HOST": "127.0.0.1", "PREFECT_SERVER_API_PORT": str(ports[0]),
        "LACONIC_ALLOWED_HOSTS": "127.0.0.1", "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }  # fmt: skip
    environment = {**os.environ, **own}
    mlflow = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(ports[1]), "--workers", "1"]
    mlflow += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    started = [
        Service("Prefect", [sys.executable, "-m", "flows.server.program"], folder / "prefect.log", environment, REPOSITORY,
                ready_address=f"http://127.0.0.1:{ports[0]}/api/health"),
        Service("MLflow", mlflow, folder / "mlflow.log", environment, REPOSITORY, ready_address=f"http://127.0.0.1:{ports[1]}/health"),
    ]  # fmt: skip
    try:
        for service in started:
            service.start()
        for service in started:
            service.wait_until_ready(300)
        yield DelayingProxy(ports[0]), DelayingProxy(ports[1])
    finally:
        for service in started:
            service.stop(5)


def train(home: Path, prefect: DelayingProxy, mlflow: DelayingProxy) -> tuple[float, float]:
    """Seconds of a step of the smoke run, by when the records of its steps were written; and of the whole command."""
    own = {
        "LACONIC_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect.port}/api",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow.port}",
    }
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    started = time.monotonic()
    command = [sys.executable, "-m", "flows.cli", "run", str(REPOSITORY / "configs" / "smoke.toml"), *words]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    times = sorted(path.stat().st_mtime for path in home.glob("training/*/steps/step-*.json"))
    assert len(times) == STEPS
    return statistics.median(later - earlier for earlier, later in pairwise(times)), time.monotonic() - started


def main() -> None:
    """Measure, and hold against the targets."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--no-servers", action="store_true", help="leave out the runs with servers")
    chosen, targets = parser.parse_args(), Targets()
    with tempfile.TemporaryDirectory(prefix="store-in-the-loop-") as name:
        folder = Path(name)
        written, noted = seconds_of_writing(folder)
        targets.check("a step's rollouts and record, in the worker", written, SHARE * STEP_SECONDS)
        print(f"  beside training, in the process that follows it: {noted:.3f} s for the step's row in DuckDB")
        if not chosen.no_servers:
            with servers(folder / "servers") as (prefect, mlflow):
                at_once, whole = train(folder / "at-once", prefect, mlflow)
                prefect.calls = mlflow.calls = 0
                prefect.delay_seconds = mlflow.delay_seconds = DELAY_SECONDS
                delayed, whole_delayed = train(folder / "delayed", prefect, mlflow)
            print(f"calls: {prefect.calls} to Prefect, {mlflow.calls} to MLflow, {DELAY_SECONDS:g} s later each")
            print(f"a step {at_once:.2f} s, and {delayed:.2f} s; the whole command {whole:.0f} s, and {whole_delayed:.0f} s")
            targets.check("a step longer, with slow servers", delayed - at_once, LATER_SECONDS)
    targets.exit()


if __name__ == "__main__":
    main()
