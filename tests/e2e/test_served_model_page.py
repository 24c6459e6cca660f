"""The page howto/served-model.md on vLLM's own server, and the same greedy prompts by the engine of this package."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from documented import blocks_of
from driving import REPOSITORY, environment, laconic, sql
from loopback import free_port

from pipeline_lib.processes import end_process_tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
PAGE = "howto/served-model.md"
SERVED = "configs/served.toml"
GREEDY = ["--set", "evaluate.temperature=1e-6", "--set", "tracking.enabled=false"]


class Served:
    """The server of the page's first block, and what its other blocks are run with."""

    def __init__(self, folder: Path) -> None:
        self.port, self.home = free_port(), folder / "home"
        self.config = folder / "served.toml"
        self.config.write_text((REPOSITORY / SERVED).read_text().replace("127.0.0.1:8000", f"127.0.0.1:{self.port}"))
        programs = folder / "bin"
        programs.mkdir()
        for name, command in (("laconic", "-m flows.cli"), ("python", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
            (programs / name).chmod(0o755)
        self.environment = environment(self.home) | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }
        self.server, *self.blocks = [block.code for block in blocks_of(PAGE) if block.mark == "elsewhere"]

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        code = self.server.replace("--port 8000", f"--port {self.port}")
        with open(log, "wb") as file:
            return subprocess.Popen(
                ["bash", "-c", f"exec {code}"],
                cwd=REPOSITORY,
                env=self.environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def run(self, block: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.replace(SERVED, str(self.config))],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    served = Served(folder)
    process = served.start(folder / "server.log")
    try:
        deadline = time.monotonic() + 300
        while not served.is_up():
            assert process.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()[-4000:]
            time.sleep(0.5)
        yield served
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            end_process_tree(process.pid)
            process.wait()


def test_the_page(served: Served) -> None:
    stages, teacher = served.blocks
    printed = served.run(stages)
    assert "served: 0 errors" in printed
    assert "tiny-sum: accuracy (%) within a token budget" in printed
    assert "spent: 240 requests (0 sent again)" in printed
    rollouts = sql(
        served.home,
        "select stage, count(*) as number, count(distinct prompt_id) as prompts, avg(correct::int) as accuracy, "
        "avg(num_tokens) as tokens, max(mean_logprob) as logprob from rollouts group by stage order by stage",
    )
    assert [(row["stage"], row["number"], row["prompts"]) for row in rollouts] == [("evaluate", 48, 48), ("profile", 192, 48)]
    # What the base of the tiny world does (docs/demo.md).
    assert all(0.6 < row["accuracy"] < 0.95 and 60 < row["tokens"] < 130 and row["logprob"] <= 0 for row in rollouts)
    assert "num_selected" in served.run(teacher)


def test_the_engine_here_says_the_same_to_the_same_prompts(served: Served) -> None:
    """Greedy: the server of vLLM and vLLM in our worker, with the same kernels but other batches."""
    laconic(served.home, "evaluate", str(served.config), *GREEDY)
    laconic(served.home, "evaluate", "configs/smoke.toml", *GREEDY)
    points = sql(
        served.home,
        "select model, budget_tokens, mean_at_k, mean_tokens from budget_results join runs using (run_id) "
        "where (config->>'$.evaluate.temperature')::double < 0.01 order by all",
    )
    by_model = {name: [row for row in points if row["model"] == name] for name in ("tiny", "builtin:tiny")}
    assert len(by_model["tiny"]) == len(by_model["builtin:tiny"]) == 4
    for there, here in zip(by_model["tiny"], by_model["builtin:tiny"], strict=True):
        assert there["mean_at_k"] == pytest.approx(here["mean_at_k"], abs=1.01 / 48)
        assert there["mean_tokens"] == pytest.approx(here["mean_tokens"], rel=0.05)
    same = sql(
        served.home,
        "select avg((there.text = here.text and there.num_tokens = here.num_tokens)::int) as share, count(*) as number "
        "from rollouts there join rollouts here using (source, prompt_id, sample_index, stage) join runs a on a.run_id = there.run_id "
        "join runs b on b.run_id = here.run_id where there.model = 'tiny' and here.model = 'builtin:tiny' and stage = 'evaluate' "
        "and (a.config->>'$.evaluate.temperature')::double < 0.01 and (b.config->>'$.evaluate.temperature')::double < 0.01",
    )
    assert same[0]["number"] == 48
    assert same[0]["share"] > 0.9
