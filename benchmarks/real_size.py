"""The memory of a real model's size on two CPU cores: one training step through the real worker, against the memory plan.

    python benchmarks/real_size.py            # Qwen3-0.6B's shape, random weights, bfloat16, ZeRO-2, two ranks; some minutes

Prints the plan's estimate, what all processes of the worker were seen to hold (resident, and with shared pages counted once), and
the step's row. Needs about 20 GiB of memory and 15 GiB of disk; no network.
"""

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.jobs import TrainJob, read_json, write_prompts
from pipeline_lib.memory import architecture_of
from pipeline_lib.memory.plan import host_gib
from pipeline_lib.processes import descendants
from pipeline_lib.prompts import load_prompts
from pipeline_lib.worker.process import WorkerProcess

REPOSITORY = Path(__file__).resolve().parents[1]
GIB = 2**30
SETTINGS = [
    "generation.dtype=bfloat16", "generation.max_num_seqs=8", "generation.kv_cache_gib=0.25", "generation.parity_tolerance=20",
    "compute.precision=bfloat16", "compute.zero_stage=2", "compute.num_processes=2", "compute.gradient_checkpointing=true",
    "compute.micro_batch_tokens=128", "train.steps=1", "train.prompts_per_step=4", "train.num_rollouts=2",
    "train.rollout_limit_tokens=32", "reward.target_tokens=32", "profile.rollout_limit_tokens=32", "evaluate.budgets_tokens=[32]",
    "train.measure_kl=false", "train.learning_rate=1e-6",
]  # fmt: skip


def model_folder(folder: Path) -> Path:
    """A model of Qwen3-0.6B's shape with random weights in bfloat16, and the tiny world's tokenizer."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from pipeline_lib.tiny_world.tokenizer import build_tokenizer

    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = Qwen3Config(
        vocab_size=151_936, hidden_size=1024, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8, head_dim=128,
        intermediate_size=3072, tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, dtype="bfloat16",
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Watch(threading.Thread):
    """Looks at the worker's memory twice a second: the most, in bytes, resident and with shared pages divided."""

    def __init__(self, worker: WorkerProcess) -> None:
        super().__init__(daemon=True)
        self.worker, self.resident, self.proportional, self.each = worker, 0, 0, [0]
        self.timeline: list[tuple[float, float]] = []

    def run(self) -> None:
        """Look until the worker has ended."""
        started = time.perf_counter()
        pid = read_json(self.worker.folder / "process.json")["pid"]
        while self.worker.is_running:
            time.sleep(0.5)
            try:
                processes = [psutil.Process(pid), *descendants(pid)]
                memory = [process.memory_full_info() for process in processes]
            except psutil.Error:
                continue
            resident = sum(each.rss for each in memory)
            self.timeline.append((time.perf_counter() - started, resident / GIB))
            if resident > self.resident:
                self.resident, self.each = resident, sorted((each.rss for each in memory), reverse=True)
            self.proportional = max(self.proportional, sum(each.pss for each in memory))


def measure(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Train one step in `folder`; memory in GiB, by the plan and as it was seen."""
    base = model_folder(folder / "model")
    config: RunConfig = load_config(REPOSITORY / "configs" / "smoke.toml", [*SETTINGS, f"base_model={base}", *overrides])
    write_prompts(folder / "prompts.json", load_prompts(config.prompts))
    for name in ("rollouts", "steps", "checkpoints"):
        (folder / name).mkdir()
    job = TrainJob(
        run_id="real-size", config=config, base_folder=str(base), prompts_file=str(folder / "prompts.json"),
        rollouts_folder=str(folder / "rollouts"), steps_folder=str(folder / "steps"), checkpoints_folder=str(folder / "checkpoints"),
    )  # fmt: skip
    worker = WorkerProcess(config, str(base), folder, will_train=True)
    worker.start()
    watch = Watch(worker)
    watch.start()
    started = time.perf_counter()
    try:
        result = worker.run(job)
    finally:
        log = worker.log.read_text(encoding="utf-8", errors="replace") if worker.log.exists() else ""
        worker.close()
    model = architecture_of(str(base))
    assert model is not None
    planned = host_gib(config, model)
    return {
        "planned_gib": planned, "resident_gib": watch.resident / GIB, "proportional_gib": watch.proportional / GIB,
        "processes_gib": [round(each / GIB, 2) for each in watch.each], "seconds": time.perf_counter() - started, "result": result,
        "timeline": [(round(second, 1), round(gib, 2)) for second, gib in watch.timeline], "log": log,
    }  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(Path(temporary), sys.argv[1:])
    timeline, log = found.pop("timeline"), found.pop("log")
    print(json.dumps(found, indent=1, default=str))
    print(" ".join(f"{second:.0f}s:{gib}" for second, gib in timeline[::10]))
