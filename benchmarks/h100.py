"""What one GPU can settle in minutes: memory of an update, the training loop in bfloat16, accumulation, log-prob gaps, the head.

    python benchmarks/h100.py                  # every check in a process of its own, with its time limit; then a table
    python benchmarks/h100.py update 0.6B 1    # one check, its figures as JSON

Needs torch, transformers and DeepSpeed, no vLLM and no network: models have random weights in the shapes of Qwen3.
Every figure is measured on the card at hand; docs/performance.md holds those of one. Without a card the same runs in toy shapes and with no
memory measured, which shows that the script runs and nothing else.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from h100_checks import FUNCTIONS, IS_TOY, single_rank

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
# check, arguments, most seconds
CHECKS = [
    ("update", ["0.6B", "1"], 70),
    ("update", ["0.6B", "2"], 70),
    ("update", ["1.7B", "1"], 80),
    ("update", ["1.7B", "offload"], 80),
    ("accumulation", [], 60),
    ("head", [], 40),
    ("gap", [], 100),
    ("loop", ["1"], 60),
    ("loop", ["2"], 60),
    ("loop", ["3"], 60),
]


def main() -> None:
    """Run one check here, or all of them as processes of their own."""
    if len(sys.argv) > 1:
        name, *arguments = sys.argv[1:]
        single_rank()
        print("RESULT " + json.dumps(FUNCTIONS[name](*arguments)), flush=True)
        return
    rows: list[list[str]] = []
    for name, arguments, seconds in CHECKS:
        started = time.perf_counter()
        command = [sys.executable, __file__, name, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * (5 if IS_TOY else 1), check=False)
            results = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            figures = json.loads(results[0]) if results else {"failed": done.stderr.strip().splitlines()[-1:]}
        except subprocess.TimeoutExpired:
            figures = {"failed": f"took longer than {seconds} s"}
        planned = figures.pop("planned", {})
        label = " ".join([name, *arguments])
        rows += [[label, key, _words(value), _words(planned.get(key, ""))] for key, value in _flat(figures)]
        print(f"{label}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    from pipeline_lib.files.markdown import table

    print(f"{_card()}; memory in GiB\n\n{table(['check', 'figure', 'measured', 'planned'], rows)}")


def _flat(figures: dict[str, Any]) -> list[tuple[str, Any]]:
    """Figures with those of nested mappings, which get the names on the way to them."""
    nested = [(key, _flat(value) if isinstance(value, dict) else [("", value)]) for key, value in figures.items()]
    return [(f"{key} {name}".strip(), value) for key, parts in nested for name, value in parts]


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _card() -> str:
    import torch

    return "no card: toy shapes, no memory measured" if IS_TOY else torch.cuda.get_device_name()


if __name__ == "__main__":
    main()
