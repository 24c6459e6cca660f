"""The memory of a real model's size on two CPU cores: one training step through the real worker, against the memory plan.

    python benchmarks/real_size.py            # Qwen3-0.6B's shape, random weights, bfloat16, ZeRO-2, two ranks; some minutes

Prints the plan's estimate, what the processes of the worker have held at most, and what became of the step. Needs about 20 GiB of
memory and 15 GiB of disk; no network.
"""

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.jobs import TrainJob, read_json, write_prompts
from pipeline_lib.memory import architecture_of
from pipeline_lib.memory.plan import cpu_gib
from pipeline_lib.processes import descendants
from pipeline_lib.prompts import load_prompts
from pipeline_lib.worker.process import WorkerProcess

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = [
    "generation.dtype=bfloat16", "generation.max_num_seqs=8", "generation.kv_cache_gib=0.25", "generation.parity_tolerance=20",
    "compute.precision=bfloat16", "compute.zero_stage=2", "compute.num_processes=2", "compute.gradient_checkpointing=true",
    "compute.micro_batch_tokens=128", "train.steps=1", "train.prompts_per_step=4", "train.num_rollouts=4",
    "train.rollout_limit_tokens=32", "train.measure_kl=false", "train.learning_rate=1e-6", "reward.name=kimi",
    "reward.target_tokens=32", "profile.rollout_limit_tokens=32", "evaluate.budgets_tokens=[32]",
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
    model = Qwen3ForCausalLM(config)
    # Random responses would never end: with this some do, so that a reward which looks at the length has something to tell apart
    # (the factor by trial: responses of some ten tokens).
    model.get_input_embeddings().weight.data[tokenizer.eos_token_id] *= 10
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Watch(threading.Thread):
    """The most that each process of a worker has held (`VmHWM`, counted by the kernel), in GiB, and all of them over time."""

    def __init__(self, worker: WorkerProcess) -> None:
        super().__init__(daemon=True)
        self.worker = worker
        self.peaks: dict[int, float] = {}
        self.timeline: list[tuple[float, float]] = []

    def run(self) -> None:
        """Look until the worker has ended."""
        started = time.perf_counter()
        pid = read_json(self.worker.folder / "process.json")["pid"]
        while self.worker.is_running:
            held = {process: _status(process) for process in [pid, *(each.pid for each in descendants(pid))]}
            self.peaks |= {process: found["VmHWM"] for process, found in held.items() if found}
            self.timeline.append((time.perf_counter() - started, sum(found["VmRSS"] for found in held.values() if found)))
            time.sleep(0.25)


def _status(pid: int) -> dict[str, float]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {line.partition(":")[0]: int(line.split()[1]) / 2**20 for line in lines if line.startswith(("VmHWM", "VmRSS"))}


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
        worker.run(job)
    finally:
        log = worker.log.read_text(encoding="utf-8", errors="replace") if worker.log.exists() else ""
        worker.close()
    [row] = [read_json(path) for path in (folder / "steps").glob("*.json") if "step" in read_json(path)]
    model = architecture_of(str(base))
    assert model is not None
    keys = ("optimizer_steps", "batch_optimizer_steps", "grad_norm", "logprob_gap", "update_seconds")
    return {
        "planned_gib": cpu_gib(config, model), "measured_gib": sum(watch.peaks.values()),
        "processes_gib": sorted(watch.peaks.values(), reverse=True), "seconds": time.perf_counter() - started,
        "step": {key: row.get(key) for key in keys}, "timeline": watch.timeline, "log": log,
    }  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(Path(temporary), sys.argv[1:])
    del found["log"]
    print(" ".join(f"{second:.0f}s {gib:.1f}" for second, gib in found.pop("timeline")[::8]))
    print(json.dumps(found, indent=1))
