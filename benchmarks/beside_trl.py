"""A training step here and with TRL's GRPOTrainer: same model, prompts, rollouts, limit and learning rate, taken in turn.

    python benchmarks/beside_trl.py [--shapes tiny long-tailed ...] [--dtypes float32 bfloat16] [--steps 5] [--load N] [--page]

Needs `laconic[benchmark]` (TRL). Two processes, one a side, wait for each other at every step, so that both meet the same machine;
the first step of each warms up and is not counted. TRL takes its default path, `generate` of transformers. Rewards look at
the length alone, so that both train on every rollout whatever the model says, at a learning rate that changes next to nothing.
Shapes: `tiny` is the demo's model and step; `long-tailed` has 27 M random parameters and lengths drawn from recorded
responses, forced on both sides; `real` is the model folder in LACONIC_BENCHMARK_MODEL, asked for sums in words.
`--load N` has N more processes compute on the same cores, and shows what a step takes beside one on an idle machine.
`--page` writes the table and the plot into docs/performance.md. Prints medians and their ratios; ends with 1 where a ratio misses its
target by more than a tenth.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = ("laconic", "trl")
PHASES = ("whole", "generation", "update")
LOAD_TARGET = 1.3  # how much more than TRL a step may slow down beside other work


@dataclass(frozen=True)
class Shape:
    """What one step consists of; `trl_batch` is the fastest `per_device_train_batch_size` of those tried."""

    prompts: int
    rollouts: int
    limit: int
    trl_batch: int
    targets: dict[str, float]  # step time of TRL over ours, by dtype
    mean_tokens: int | None = None  # of forced lengths
    temperature: float = 1.0


SHAPES = {
    "tiny": Shape(20, 8, 64, 160, {"float32": 1.5, "bfloat16": 1.5}),
    "long-tailed": Shape(4, 8, 512, 8, {"float32": 2.5, "bfloat16": 2.5}, mean_tokens=140),
    "real": Shape(4, 8, 128, 8, {"bfloat16": 2.4}, temperature=0.5),
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
        overrides = [f'prompts={{name="sums", kind="local", path="{path}", grader="exact", domain="sums"}}']
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
    from pipeline_lib.worker.program import Worker, hidden, own_engine

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
    with hidden("mlflow", "redis", "scipy", "sklearn"):
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


class Side:
    """A process that takes steps of one side when it is told to."""

    def __init__(self, side: str, name: str, dtype: str, model: str, folder: Path) -> None:
        arguments = ["--side", side, "--shapes", name, "--dtypes", dtype, "--model", model, "--folder", str(folder)]
        folder.mkdir()
        threads = {"OMP_NUM_THREADS": "2"} if side == "laconic" else {}
        self.started, self.log = time.perf_counter(), folder / "log.txt"
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TOKENIZERS_PARALLELISM": "false"} | threads,
            )  # fmt: skip

    def step(self) -> dict[str, float]:
        """Have it take a step; what that took, in seconds."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """What it says next. Raises RuntimeError with the end of its log when it has ended."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("STEP "):
                found: dict[str, Any] = json.loads(line[5:])
                return found
        raise RuntimeError(self.log.read_text(encoding="utf-8", errors="replace")[-2000:])

    def end(self) -> None:
        """Let it go."""
        self._process.kill()
        self._process.wait()


@contextmanager
def other_work(number: int) -> Iterator[None]:
    """So many processes that compute until the end."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def measure(name: str, dtype: str, num_steps: int, load: int) -> dict[str, Any]:
    """Medians of each side's parts of a step, in seconds, and beside other work."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = model_of(name, folder)
        found: dict[str, Any] = {"shape": name, "dtype": dtype}
        sides = {}
        try:
            for side in SIDES:
                sides[side] = Side(side, name, dtype, model, folder / side)
                sides[side].answer()
                sides[side].step()
                found[f"{side}_first_step"] = time.perf_counter() - sides[side].started
            idle = in_turn(sides, num_steps)
            with other_work(load):
                loaded = in_turn(sides, num_steps if load else 0)
        finally:
            for each in sides.values():
                each.end()
    for side in SIDES:
        rows = idle[side]
        found |= {f"{side}_{part}": median(row[part] for row in rows) for part in (*PHASES, "tokens")}
        found[f"{side}_peak_gib"] = rows[-1]["peak_gib"]
        if load:
            found[f"{side}_loaded"] = median(row["whole"] for row in loaded[side])
    found |= {part: median_ratio(idle, part) for part in PHASES}
    return found


def in_turn(sides: dict[str, Side], num_steps: int) -> dict[str, list[dict[str, float]]]:
    """Steps of the sides, one after the other."""
    rows: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(num_steps):
        for side, process in sides.items():
            rows[side].append(process.step())
    return rows


def median_ratio(rows: dict[str, list[dict[str, float]]], part: str) -> float:
    """TRL's time over ours, step by step."""
    return median(theirs[part] / ours[part] for ours, theirs in zip(rows["laconic"], rows["trl"], strict=True))


def model_of(name: str, folder: Path) -> str:
    """The model folder of a shape."""
    from pipeline_lib.tiny_world import BASE_FOLDER

    if name == "tiny":
        return str(BASE_FOLDER)
    if name == "real":
        return os.environ["LACONIC_BENCHMARK_MODEL"]
    make_model(folder / "model")
    return str(folder / "model")


COLUMNS = [
    "model", "precision", "tokens a response", "a step", "generation", "update", "whole step, times as fast", "generation", "update",
    "first step after", "peak memory", "beside other work",
]  # fmt: skip


def cells(found: dict[str, Any]) -> list[str]:
    """A line of the table; pairs are ours and TRL's."""

    def pair(part: str, unit: str = "s", digits: int = 2) -> str:
        ours, theirs = (found[f"{side}_{part}"] for side in SIDES)
        return f"{ours:.{digits}f}, {theirs:.{digits}f} {unit}".rstrip()

    slower = [f"{found[f'{side}_loaded'] / found[f'{side}_whole']:.1f}" for side in SIDES if f"{side}_loaded" in found]
    return [
        found["shape"], found["dtype"], pair("tokens", "", 0), *(pair(part) for part in PHASES),
        *(f"{found[part]:.2f}" for part in PHASES), pair("first_step", "s", 0), pair("peak_gib", "GiB", 1),
        " and ".join(slower) + " times as long" if slower else "",
    ]  # fmt: skip


def misses(found: dict[str, Any]) -> list[str]:
    """What falls short of its target by more than a tenth."""
    lines, target = [], SHAPES[found["shape"]].targets.get(found["dtype"])
    if target and found["whole"] < 0.9 * target:
        lines.append(f"{found['shape']}, {found['dtype']}: {found['whole']:.2f} times as fast as TRL, target {target}")
    if "trl_loaded" in found:
        ours, theirs = (found[f"{side}_loaded"] / found[f"{side}_whole"] for side in SIDES)
        if ours > 1.1 * LOAD_TARGET * theirs:
            lines.append(f"{found['shape']}, {found['dtype']}: beside other work {ours:.1f} times as long, TRL {theirs:.1f}")
    return lines


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A bar a side for each shape: generation below, update above."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 + 1.5 * len(rows), 3.2), layout="constrained")
    for axes, found in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        generation, update = ([found[f"{side}_{part}"] for side in SIDES] for part in PHASES[1:])
        axes.bar(["Laconic", "TRL"], generation, label="generation", color="#4477aa")
        axes.bar(["Laconic", "TRL"], update, bottom=generation, label="update", color="#ee9944")
        axes.set_title(f"{found['shape']}\n{found['dtype']}", fontsize=9)
    figure.axes[0].set_ylabel("seconds a step")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def write_page(rows: Sequence[dict[str, Any]], command: str) -> None:
    """Put table and plot into docs/performance.md."""
    from flows.generated_docs import updated_document
    from pipeline_lib.files import markdown

    page, cores = REPOSITORY / "docs" / "performance.md", os.cpu_count()
    lines = [
        f"**Measured** by `{command}` on {cores} cores ({platform.machine()}), medians; TRL {version('trl')}, torch "
        f"{version('torch')}. Pairs are ours and TRL's.", "",
        markdown.table(COLUMNS, [cells(found) for found in rows]), "", "![A step here and with TRL](images/beside-trl.png)",
    ]  # fmt: skip
    page.write_text(updated_document(page.read_text(encoding="utf-8"), "trl", "\n".join(lines)), encoding="utf-8")
    draw(rows, REPOSITORY / "docs" / "images" / "beside-trl.png")


def main() -> int:
    """Run as the controller, or as a side."""
    parser = argparse.ArgumentParser(description="A training step beside TRL's.")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--load", type=int, default=0, help="processes that compute beside, in a second round of steps")
    parser.add_argument("--page", action="store_true", help="write docs/performance.md")
    for hidden in ("--side", "--model", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side: Callable[..., None] = run_laconic if arguments.side == "laconic" else run_trl
        side(arguments.shapes[0], arguments.dtypes[0], arguments.model, Path(arguments.folder))
        return 0
    rows = []
    for name in arguments.shapes:
        if name == "real" and "LACONIC_BENCHMARK_MODEL" not in os.environ:
            print("real: skipped, LACONIC_BENCHMARK_MODEL names no model folder")
            continue
        for dtype in arguments.dtypes:
            rows.append(measure(name, dtype, arguments.steps, arguments.load))
            print(dict(zip(COLUMNS, cells(rows[-1]), strict=False)), flush=True)
    if arguments.page:
        write_page(rows, " ".join(["python benchmarks/beside_trl.py", *sys.argv[1:]]))
    short = [line for found in rows for line in misses(found)]
    print("\n".join(short) or "every ratio reaches its target")
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
