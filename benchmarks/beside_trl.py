"""A training step here and with TRL's GRPOTrainer: same model, prompts, rollouts, limit and learning rate, taken in turn.

    python -m benchmarks.beside_trl [--shapes tiny long-tailed ...] [--dtypes float32 bfloat16] [--load N] [--page]

Needs `laconic[benchmark]` (TRL). Two processes, one a side, wait for each other at every step, so that both meet the same machine;
the first step of each warms up and is not counted. TRL takes its default path, `generate` of transformers. Rewards look at
the length alone, so that both train on every rollout whatever the model says, at a learning rate that changes next to nothing.
Shapes: `tiny` is the demo's model and step; `long-tailed` has 27 M random parameters and lengths drawn from recorded
responses, forced on both sides; `real` is the model folder in LACONIC_BENCHMARK_MODEL, asked for sums in words.
`--load N` has N more processes compute on the same cores, and shows what a step takes beside one on an idle machine; of `tiny` alone, whose
steps wait for threads most often, and take minutes with the others.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.targets import Targets
from benchmarks.trl_sides import REPOSITORY, SHAPES, make_model
from pipeline_lib.processes import thread_environment

SIDES = ("laconic", "trl")
PHASES = ("whole", "generation", "update")
LOAD_TARGET = 1.3  # how much more than TRL a step may slow down beside other work


class Side:
    """A process that takes steps of one side when it is told to."""

    def __init__(self, side: str, name: str, dtype: str, model: str, folder: Path) -> None:
        arguments = ["-m", "benchmarks.trl_sides", side, name, dtype, model, str(folder)]
        folder.mkdir()
        threads = thread_environment(2) if side == "laconic" else {}
        self.started, self.log = time.perf_counter(), folder / "log.txt"
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
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


def measure(name: str, dtype: str, load: int) -> dict[str, Any]:
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
            idle = in_turn(sides, SHAPES[name].steps)
            with other_work(load):
                loaded = in_turn(sides, SHAPES[name].steps if load else 0)
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
    "model", "precision", "tokens a response", "a step", "generation", "update", "times as fast: step", "generation alone", "update alone",
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


def hold(targets: Targets, found: dict[str, Any]) -> None:
    """Hold a step's ratios against their targets."""
    what, target = f"{found['shape']}, {found['dtype']}", SHAPES[found["shape"]].targets.get(found["dtype"])
    if target:
        targets.check(f"{what}: our step over TRL's", 1 / found["whole"], 1 / target, "")
    if "trl_loaded" in found:
        ours, theirs = (found[f"{side}_loaded"] / found[f"{side}_whole"] for side in SIDES)
        targets.check(f"{what}: slowed by other work, ours over TRL's", ours / theirs, LOAD_TARGET, "")


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
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
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


def main() -> None:
    """Measure, print, and end with 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="A training step beside TRL's.")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--load", type=int, default=0, help="processes that compute beside, in a second round of steps")
    parser.add_argument("--page", action="store_true", help="write docs/performance.md")
    arguments = parser.parse_args()
    rows, targets = [], Targets()
    for name in arguments.shapes:
        if name == "real" and "LACONIC_BENCHMARK_MODEL" not in os.environ:
            print("real: skipped, LACONIC_BENCHMARK_MODEL names no model folder")
            continue
        for dtype in arguments.dtypes:
            rows.append(measure(name, dtype, arguments.load if name == "tiny" else 0))
            print(" ".join(f"{column}: {cell};" for column, cell in zip(COLUMNS, cells(rows[-1]), strict=True)))
            hold(targets, rows[-1])
    if arguments.page:
        write_page(rows, " ".join(["python -m benchmarks.beside_trl", *sys.argv[1:]]))
    targets.exit()


if __name__ == "__main__":
    main()
