"""The two sides of `beside_trl.py`: what a step consists of, our loop and TRL's, each stopped before every step until told to go on."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Shape:
    """What one step consists of; `trl_batch` is the fastest `per_device_train_batch_size` of those tried."""

    prompts: int
    rollouts: int
    limit: int
    trl_batch: int
    steps: int  # so many are counted
    targets: dict[str, float]  # step time of TRL over ours, by dtype
    mean_tokens: int | None = None  # of forced lengths
    temperature: float = 1.0


SHAPES = {
    "tiny": Shape(20, 8, 64, 160, 5, {"float32": 1.0, "bfloat16": 1.0}),  # docs/performance.md says why not more
    "long-tailed": Shape(4, 8, 512, 8, 2, {"float32": 2.5, "bfloat16": 2.5}, mean_tokens=140),
    "real": Shape(4, 8, 128, 8, 2, {"bfloat16": 2.4}, mean_tokens=48, temperature=0.5),
}


def forced_lengths(shape: Shape) -> Iterator[int]:
    """Lengths of recorded responses, scaled to the mean of a shape and cut at its limit: the same for both sides."""
    import numpy as np

    from benchmarks.fleet_model import Lengths

    assert shape.mean_tokens
    for seed in count():
        drawn = np.asarray(Lengths().draw(shape.prompts, shape.rollouts, [seed])).ravel()
        low, high = 0.0, 1e6
        for _ in range(60):  # the scale at which the mean after the cut is the wanted one
            scale = (low + high) / 2
            low, high = (scale, high) if np.minimum(drawn * scale, shape.limit).mean() < shape.mean_tokens else (low, scale)
        yield from (max(1, int(length)) for length in np.minimum(drawn * low, shape.limit))


def make_model(folder: Path) -> None:
    """A Qwen3 of 27 M random parameters with the tiny world's tokenizer."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from pipeline_lib.tiny_world.tokenizer import build_tokenizer

    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = Qwen3Config(
        vocab_size=8192, hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4, head_dim=64,
        intermediate_size=1536, tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, dtype="float32",
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def config_of(name: str, dtype: str, model: str, folder: Path) -> Any:
    """The configuration of a shape's training here; its source of prompts serves TRL, too."""
    from pipeline_lib.config import load_config

    shape, overrides = SHAPES[name], []
    if name == "real":
        problems = [
            {"id": str(n), "problem": f"What is {n} + {n % 7 + 2}?", "answer": str(n + n % 7 + 2)} for n in range(1, 41)
        ]
        path = folder / "sums.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in problems), encoding="utf-8")
        overrides = [f'prompts={{name="sums", kind="file", path="{path}", grader="exact", domain="sums"}}']
    return load_config(
        REPOSITORY / "configs" / "smoke.toml",
        [
            *overrides, f"base_model={model}", "train.steps=100000", f"train.prompts_per_step={shape.prompts}",
            f"train.num_rollouts={shape.rollouts}", f"train.rollout_limit_tokens={shape.limit}", "train.learning_rate=1e-6",
            f"train.temperature={shape.temperature}", f"profile.temperature={shape.temperature}", "train.warmup_steps=0",
            "train.measure_kl=false", f"reward.target_tokens={shape.limit}", "checkpoint.every_steps=100000",
            f"profile.rollout_limit_tokens={shape.limit}", f"evaluate.budgets_tokens=[{shape.limit}]",
            f"generation.dtype={dtype}", f"compute.precision={dtype}", "generation.parity_tolerance=20", "generation.kv_cache_gib=1",
            "compute.num_threads=2", "control.enabled=false",
        ],
    )  # fmt: skip


class Steps:
    """Tells the controller what each step took, and begins one when told to."""

    def __init__(self) -> None:
        self._began: float | None = None
        self.parts: dict[str, float] = {}

    def begin(self) -> None:
        """End the step there was, and wait for the word to begin the next."""
        if self._began is not None:
            say(whole=time.perf_counter() - self._began, **self.parts, peak_gib=peak_gib())
        else:
            say(ready=True)
        if not sys.stdin.readline():
            os._exit(0)
        self.parts, self._began = {}, time.perf_counter()


def say(**values: Any) -> None:
    print("STEP " + json.dumps(values), flush=True)


def peak_gib() -> float:
    """The most memory this process has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run_laconic(name: str, dtype: str, model: str, folder: Path) -> None:
    """Our loop, as a worker runs it."""
    import numpy as np

    from pipeline_lib.jobs import TrainJob, write_prompts
    from pipeline_lib.processes import collect_garbage_rarely
    from pipeline_lib.prompts import load_prompts
    from pipeline_lib.rewards import REWARDS
    from pipeline_lib.rewards.truncation import TruncationReward
    from pipeline_lib.worker.program import UNUSED, Worker, hidden, own_engine

    class ShorterIsBetter(TruncationReward):
        def score(self, outcomes: Any) -> Any:
            return -np.asarray(outcomes.lengths_PN, float) / outcomes.lengths_PN.max()

    REWARDS["truncation"] = ShorterIsBetter
    collect_garbage_rarely()
    config = config_of(name, dtype, model, folder)
    write_prompts(folder / "prompts.json", load_prompts(config.prompts))
    for part in ("rollouts", "steps", "checkpoints"):
        (folder / part).mkdir()
    job = TrainJob(
        run_id="beside-trl", config=config, base_folder=model, prompts_file=str(folder / "prompts.json"),
        rollouts_folder=str(folder / "rollouts"), steps_folder=str(folder / "steps"), checkpoints_folder=str(folder / "checkpoints"),
    )  # fmt: skip
    with hidden(*UNUSED):
        worker = Worker(config, model, folder, own_engine)
        from pipeline_lib.training.loop import train
    if SHAPES[name].mean_tokens:
        import vllm

        lengths, parameters = forced_lengths(SHAPES[name]), vllm.SamplingParams
        vllm.SamplingParams = lambda **kind: parameters(  # type: ignore[misc, assignment]
            **kind | ({"max_tokens": next(lengths), "ignore_eos": True} if kind["max_tokens"] == SHAPES[name].limit else {})
        )
    steps = Steps()

    def report(progress: dict[str, Any]) -> None:
        if progress.get("phase") == "generating":
            steps.begin()
        elif "generation_seconds" in progress:
            steps.parts = {"generation": progress["generation_seconds"], "update": progress["update_seconds"]}
            steps.parts["tokens"] = progress["mean_tokens"]

    train(job, worker._generator, worker._tokenizer, report)


def run_trl(name: str, dtype: str, model: str, folder: Path) -> None:
    """TRL's trainer."""
    import torch

    torch.set_num_threads(2)
    from datasets import Dataset
    from transformers import AutoTokenizer, LogitsProcessor, LogitsProcessorList, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from pipeline_lib.prompts import load_prompts
    from pipeline_lib.prompts.rendering import render_prompt

    shape, config, steps = SHAPES[name], config_of(name, dtype, model, folder), Steps()
    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = [render_prompt(tokenizer, config.prompts, prompt.problem) for prompt in load_prompts(config.prompts)]
    texts = [tokenizer.decode(each, skip_special_tokens=False, clean_up_tokenization_spaces=False) for each in ids]
    assert [tokenizer(text)["input_ids"] for text in texts] == ids, "both sides have the same prompts"

    class Timed(GRPOTrainer):
        def _generate(self, prompts: Any, *others: Any) -> Any:
            started = time.perf_counter()
            try:
                return super()._generate(prompts, *others)
            finally:
                steps.parts["generation"] = time.perf_counter() - started

    class Gate(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            steps.begin()
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            steps.parts["update"] = time.perf_counter() - self.began - steps.parts["generation"]

    class Forced(LogitsProcessor):
        def __init__(self, lengths: list[int], prompt: int) -> None:
            self.ends, self.prompt = torch.tensor(lengths) + prompt - 1, prompt

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            at_end = self.ends <= input_ids.shape[1]
            scores[:, tokenizer.eos_token_id] = torch.where(at_end, 1e4, -torch.inf)
            return scores

    def rewards(completion_ids: list[list[int]], **_: Any) -> list[float]:
        steps.parts["tokens"] = sum(map(len, completion_ids)) / len(completion_ids)
        return [-len(each) / shape.limit for each in completion_ids]

    settings = GRPOConfig(
        output_dir=str(folder), max_steps=100_000, per_device_train_batch_size=shape.trl_batch,
        gradient_accumulation_steps=shape.prompts * shape.rollouts // shape.trl_batch, num_generations=shape.rollouts,
        max_completion_length=shape.limit, temperature=shape.temperature, learning_rate=1e-6, lr_scheduler_type="constant",
        beta=0.0, bf16=dtype == "bfloat16", use_cpu=True, gradient_checkpointing=False, report_to="none", save_strategy="no",
        logging_steps=1, disable_tqdm=True, dataloader_pin_memory=False, model_init_kwargs={"dtype": "float32"},
    )  # fmt: skip
    trainer = Timed(
        model=model, reward_funcs=rewards, args=settings, train_dataset=Dataset.from_dict({"prompt": texts}),
        processing_class=tokenizer, callbacks=[Gate()],
    )  # fmt: skip
    if shape.mean_tokens:
        lengths, generate = forced_lengths(shape), trainer.model.generate

        def generate_forced(**inputs: Any) -> Any:
            number, prompt = inputs["input_ids"].shape
            forced = Forced([next(lengths) for _ in range(number)], prompt)
            return generate(**inputs, logits_processor=LogitsProcessorList([forced]))

        trainer.model.generate = generate_forced
    trainer.train()


def main() -> None:
    """Run a side until its standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trl_sides")
    parser.add_argument("side", choices=("laconic", "trl"))
    for name in ("shape", "dtype", "model"):
        parser.add_argument(name)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    run: Callable[..., None] = run_laconic if arguments.side == "laconic" else run_trl
    run(arguments.shape, arguments.dtype, arguments.model, arguments.folder)


if __name__ == "__main__":
    main()
