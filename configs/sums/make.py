"""Writes the problems of configs/smollm2-135m.toml: sums and products in words, in three files without a common problem.

Sums of 1 to 20 and products of 2 to 12, each pair in one part only, whichever number is named first: `python configs/sums/make.py`.
"""

import json
import random
from itertools import combinations_with_replacement
from pathlib import Path

SEED = 1
# Of the pairs (a, b) with a <= b, how many sums and products are held out; the rest is for training, in both orders.
HELD_OUT = {"test": (60, 20), "validation": (20, 8)}


def problems() -> dict[str, list[dict[str, str]]]:
    """Rows of id, problem and answer by part: train, validation, test."""
    rng = random.Random(SEED)
    parts: dict[str, list[dict[str, str]]] = {"train": [], **{part: [] for part in HELD_OUT}}
    for kind, numbers in enumerate((range(1, 21), range(2, 13))):
        pairs = list(combinations_with_replacement(numbers, 2))
        rng.shuffle(pairs)
        for part, counts in HELD_OUT.items():
            held, pairs = pairs[: counts[kind]], pairs[counts[kind] :]
            parts[part] += [_row(kind, *rng.sample(pair, 2)) for pair in held]
        parts["train"] += [_row(kind, *pair) for a, b in sorted(pairs) for pair in sorted({(a, b), (b, a)})]
    return parts


def _row(kind: int, a: int, b: int) -> dict[str, str]:
    asked, answer = (f"{a} times {b}", a * b) if kind else (f"{a} + {b}", a + b)
    return {"id": asked.replace(" ", ""), "problem": f"What is {asked}?", "answer": str(answer)}


if __name__ == "__main__":
    for part, rows in problems().items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (Path(__file__).parent / f"{part}.jsonl").write_text(lines, encoding="utf-8")
