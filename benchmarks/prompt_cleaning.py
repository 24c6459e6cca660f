"""What cleaning takes from the known training sets, and how many problems of the benchmarks each training set holds.

    python benchmarks/prompt_cleaning.py [--data FOLDER]

FOLDER (default: LACONIC_DATA) holds a Parquet file a set, with the columns id, problem and answer.
"""

import argparse
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from pipeline_lib.config import CleaningConfig
from pipeline_lib.files.markdown import table
from pipeline_lib.records import Prompt
from pipeline_lib.selection.cleaning import REASONS, clean_prompts
from pipeline_lib.selection.decontamination import BenchmarkIndex, OverlapPair

TRAINING_SETS = ("deepscaler_train", "greso_math_train")
BENCHMARKS = ("aime24", "aime25", "amc23", "amc2223", "math500", "minerva", "olympiadbench", "gsm8k_test")
RULES = CleaningConfig()


@dataclass(frozen=True, slots=True)
class Overlap:
    """The benchmark problems found in a training set, as ids in the benchmark's order, and every pair behind them."""

    same_text: list[str]
    ngrams: list[str]
    same_text_or_ngrams: list[str]
    pairs: list[OverlapPair]


def benchmark_overlaps(training: Sequence[Prompt], benchmarks: Mapping[str, Sequence[Prompt]]) -> dict[str, Overlap]:
    """The problems of each benchmark that a training set holds: same normalised text, or n-grams, or either."""
    index = BenchmarkIndex(benchmarks, RULES.ngram_words, RULES.ngram_overlap)
    pairs: dict[str, list[OverlapPair]] = {name: [] for name in benchmarks}
    for prompt in training:
        for pair in index.find(prompt):
            pairs[pair.benchmark].append(pair)
    overlaps = {}
    for name, prompts in benchmarks.items():
        texts = {pair.benchmark_id for pair in pairs[name] if pair.same_text}
        ngrams = {pair.benchmark_id for pair in pairs[name] if pair.shared and pair.share >= RULES.ngram_overlap}
        ids = [prompt.prompt_id for prompt in prompts]
        overlaps[name] = Overlap(
            same_text=[prompt_id for prompt_id in ids if prompt_id in texts],
            ngrams=[prompt_id for prompt_id in ids if prompt_id in ngrams],
            same_text_or_ngrams=[prompt_id for prompt_id in ids if prompt_id in texts | ngrams],
            pairs=pairs[name],
        )
    return overlaps


def read_problems(folder: Path, name: str) -> list[Prompt]:
    """The rows of FOLDER/NAME.parquet, rows without an answer included. Raises ValueError when there is no such file."""
    import pyarrow.parquet as pq

    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise ValueError(f"--data = '{folder}' holds no {name}.parquet")
    columns = pq.read_table(path, columns=["id", "problem", "answer"]).to_pydict()
    return [
        Prompt(prompt_id=str(prompt_id), source=name, domain="math", problem=(problem or "").strip(), answer=answer or "")
        for prompt_id, problem, answer in zip(columns["id"], columns["problem"], columns["answer"], strict=True)
    ]


def print_reasons(training: Mapping[str, Sequence[Prompt]], benchmarks: Mapping[str, Sequence[Prompt]]) -> None:
    """How many prompts of each training set go, by the reason, with every rule on."""
    counts, seconds = {}, {}
    for name, prompts in training.items():
        start = perf_counter()
        counts[name] = Counter(verdict.reason for verdict in clean_prompts(prompts, benchmarks, RULES))
        seconds[name] = perf_counter() - start
    rows = [[reason, *(f"{counts[name][reason]:,}" for name in training)] for reason in REASONS]
    print(table(["reason", *training], [*rows, ["all", *(f"{counts[name].total():,}" for name in training)]]))
    print("seconds:", ", ".join(f"{name} {seconds[name]:.1f}" for name in training))


def print_overlaps(training: Mapping[str, Sequence[Prompt]], benchmarks: Mapping[str, Sequence[Prompt]]) -> None:
    """Rows of each benchmark in each training set: same text, same text or n-grams."""
    overlaps = [benchmark_overlaps(prompts, benchmarks) for prompts in training.values()]
    rows = []
    for name, prompts in benchmarks.items():
        counts = [f"{len(found[name].same_text)}, {len(found[name].same_text_or_ngrams)}" for found in overlaps]
        rows.append([name, f"{len(prompts):,}", *counts])
    print(table(["benchmark", "rows", *training], rows))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = os.environ.get("LACONIC_DATA")
    parser.add_argument("--data", type=Path, default=known, required=known is None, help="folder with the Parquet files")
    folder = parser.parse_args().data
    benchmarks = {name: read_problems(folder, name) for name in BENCHMARKS}
    training = {name: read_problems(folder, name) for name in TRAINING_SETS}
    print_reasons(training, benchmarks)
    print()
    print_overlaps(training, benchmarks)


if __name__ == "__main__":
    main()
