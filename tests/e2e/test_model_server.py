"""A trained model behind vLLM's server: exported, served on loopback, asked by HTTP."""

import json
import multiprocessing
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from driving import LACONIC, REPOSITORY, environment
from loopback import free_port

from pipeline_lib.config import load_config
from pipeline_lib.generation.protocol import Sampling
from pipeline_lib.generation.vllm_engine import VllmGenerator
from pipeline_lib.processes import end_in_order
from pipeline_lib.prompts import load_prompts
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.release.folder import export_model
from pipeline_lib.store.database import Store

LIMIT = 96


def ask(address: str, body: dict[str, Any] | None = None) -> Any:
    content = json.dumps(body).encode() if body else None
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def wait_until_ready(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + 240
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
        try:
            return ask(f"{address}/health")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.3)


def engine_answers(folder: Path, problems: list[str]) -> list[str]:
    """What the embedded engine says, greedily."""
    from transformers import AutoTokenizer

    config = load_config(REPOSITORY / "configs" / "smoke.toml")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    engine = VllmGenerator(str(folder), config.generation, config.max_model_tokens)
    prompts = [render_prompt(tokenizer, config.evaluate.benchmarks[0], problem) for problem in problems]
    completions = engine.generate(prompts, Sampling(LIMIT, temperature=0.0), [0] * len(prompts))
    engine.close()
    return [completion.text for completion in completions]


@pytest.mark.slow  # two engines, half a minute
def test_the_server_says_what_the_engine_says(smoke_home: Path, tmp_path: Path) -> None:
    folder, log, port = tmp_path / "model", tmp_path / "server.log", free_port()
    export_model(Store(smoke_home), "smoke", folder)
    address = f"http://127.0.0.1:{port}"
    with open(log, "wb") as output:
        command = [*LACONIC, "serve", str(folder), "--port", str(port), "--max-num-seqs", "8"]
        process = subprocess.Popen(
            command, env=environment(smoke_home), cwd=REPOSITORY, stdout=output, stderr=output, start_new_session=True
        )
    try:
        source = load_config(REPOSITORY / "configs" / "smoke.toml").evaluate.benchmarks[0]
        problems = [prompt.problem for prompt in load_prompts(source)[:4]]
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # while the server starts
            expected = pool.submit(engine_answers, folder, problems).result(timeout=240)
        wait_until_ready(process, address, log)
        [model] = ask(f"{address}/v1/models")["data"]
        assert (model["id"], model["max_model_len"]) == ("smoke", 256)
        for problem, text in zip(problems, expected, strict=True):
            messages = [{"role": "user", "content": problem}]
            body = {"model": "smoke", "messages": messages, "temperature": 0, "max_tokens": LIMIT}
            [choice] = ask(f"{address}/v1/chat/completions", body)["choices"]
            assert choice["message"]["content"] == text
    finally:
        end_in_order(process, 20)
    printed = log.read_text()
    assert "smoke: how it was judged" in printed
    assert "recommended: max_tokens = " in printed
    assert process.returncode is not None
