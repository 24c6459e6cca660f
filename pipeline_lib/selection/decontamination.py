"""Finds benchmark problems inside training prompts: the same normalised text, or a large share of the word n-grams.

The share is of the benchmark problem's distinct n-grams and must lie in one training prompt. Paraphrases and translations are
not caught, and problems of fewer words than an n-gram only by their text. `python -m pipeline_lib.selection.decontamination
--data FOLDER` prints the overlap of the known training sets and benchmarks in a folder.
"""

import argparse
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.records import Prompt
from pipeline_lib.selection.normalise import problem_key

TRAINING_SETS = ("deepscaler_train", "greso_math_train")
BENCHMARKS = ("aime24", "aime25", "amc23", "amc2223", "math500", "minerva", "olympiadbench", "gsm8k_test")

_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class OverlapPair:
    """A training prompt that shares text with a benchmark problem: `shared` of the problem's `total` distinct n-grams."""

    training_id: str
    benchmark: str
    benchmark_id: str
    same_text: bool
    shared: int
    total: int

    @property
    def share(self) -> float:
        return self.shared / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Overlap:
    """The benchmark problems found in a training set, as ids in the benchmark's order, and every pair behind them."""

    same_text: list[str]
    ngrams: list[str]
    same_text_or_ngrams: list[str]
    pairs: list[OverlapPair]


class BenchmarkIndex:
    """All benchmark problems by normalised text and by word n-gram; training prompts are looked up one by one."""

    def __init__(self, benchmarks: Mapping[str, Sequence[Prompt]], ngram_words: int = 13, ngram_overlap: float = 0.5) -> None:
        """`ngram_overlap`: the share, of a benchmark problem's distinct n-grams, from which a prompt counts as holding it."""
        self._ngram_words = ngram_words
        self._ngram_overlap = ngram_overlap
        self._problems: list[tuple[str, str]] = []
        self._num_ngrams: list[int] = []
        self._by_text: defaultdict[str, list[int]] = defaultdict(list)
        self._by_ngram: defaultdict[str, list[int]] = defaultdict(list)
        for name, prompts in benchmarks.items():
            for prompt in prompts:
                self._add(name, prompt)

    def _add(self, benchmark: str, prompt: Prompt) -> None:
        position = len(self._problems)
        self._problems.append((benchmark, prompt.prompt_id))
        ngrams = word_ngrams(prompt.problem, self._ngram_words)
        self._num_ngrams.append(len(ngrams))
        self._by_text[problem_key(prompt.problem)].append(position)
        for ngram in ngrams:
            self._by_ngram[ngram].append(position)

    def find(self, prompt: Prompt) -> list[OverlapPair]:
        """The benchmark problems this training prompt holds, in the benchmarks' order."""
        same_text = set(self._by_text.get(problem_key(prompt.problem), ()))
        shared = Counter(
            position for ngram in word_ngrams(prompt.problem, self._ngram_words) for position in self._by_ngram.get(ngram, ())
        )
        enough = {position for position, count in shared.items() if count / self._num_ngrams[position] >= self._ngram_overlap}
        return [
            OverlapPair(
                training_id=prompt.prompt_id,
                benchmark=self._problems[position][0],
                benchmark_id=self._problems[position][1],
                same_text=position in same_text,
                shared=shared[position],
                total=self._num_ngrams[position],
            )
            for position in sorted(same_text | enough)
        ]

    def holds_ngrams(self, pair: OverlapPair) -> bool:
        """Whether the n-grams alone would have given this pair."""
        return pair.shared > 0 and pair.share >= self._ngram_overlap


def word_ngrams(text: str, ngram_words: int) -> set[str]:
    """The distinct runs of `ngram_words` words, joined by spaces; words are runs of a–z and 0–9 in the lower-case NFKC text.

    LaTeX commands count as words without their backslash; letters of other alphabets separate words. Empty for shorter texts.
    """
    words = _WORD.findall(unicodedata.normalize("NFKC", text).lower())
    return {" ".join(words[start : start + ngram_words]) for start in range(len(words) - ngram_words + 1)}


def benchmark_overlap(
    training: Sequence[Prompt], benchmark: Sequence[Prompt], ngram_words: int = 13, ngram_overlap: float = 0.5
) -> Overlap:
    """The problems of a benchmark that a training set holds: same normalised text, or n-grams, or either."""
    index = BenchmarkIndex({"benchmark": benchmark}, ngram_words, ngram_overlap)
    return _collect(index, {"benchmark": benchmark}, training)["benchmark"]


def benchmark_overlaps(
    training: Sequence[Prompt],
    benchmarks: Mapping[str, Sequence[Prompt]],
    ngram_words: int = 13,
    ngram_overlap: float = 0.5,
) -> dict[str, Overlap]:
    """`benchmark_overlap` for several benchmarks in one pass over the training set."""
    return _collect(BenchmarkIndex(benchmarks, ngram_words, ngram_overlap), benchmarks, training)


def _collect(
    index: BenchmarkIndex, benchmarks: Mapping[str, Sequence[Prompt]], training: Sequence[Prompt]
) -> dict[str, Overlap]:
    pairs: dict[str, list[OverlapPair]] = {name: [] for name in benchmarks}
    for prompt in training:
        for pair in index.find(prompt):
            pairs[pair.benchmark].append(pair)
    overlaps = {}
    for name, prompts in benchmarks.items():
        texts = {pair.benchmark_id for pair in pairs[name] if pair.same_text}
        ngrams = {pair.benchmark_id for pair in pairs[name] if index.holds_ngrams(pair)}
        ids = [prompt.prompt_id for prompt in prompts]
        overlaps[name] = Overlap(
            same_text=[prompt_id for prompt_id in ids if prompt_id in texts],
            ngrams=[prompt_id for prompt_id in ids if prompt_id in ngrams],
            same_text_or_ngrams=[prompt_id for prompt_id in ids if prompt_id in texts | ngrams],
            pairs=pairs[name],
        )
    return overlaps


def read_problems(folder: Path, name: str) -> list[Prompt]:
    """The rows of FOLDER/NAME.parquet (columns id, problem, answer), rows without an answer included.

    Raises ValueError when there is no such file.
    """
    import pyarrow.parquet as pq

    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise ValueError(f"--data = '{folder}' holds no {name}.parquet")
    columns = pq.read_table(path, columns=["id", "problem", "answer"]).to_pydict()
    return [
        Prompt(prompt_id=str(prompt_id), source=name, domain="math", problem=(problem or "").strip(), answer=answer or "")
        for prompt_id, problem, answer in zip(columns["id"], columns["problem"], columns["answer"], strict=True)
    ]


def parse_data_folder(description: str) -> Path:
    """The folder of --data, else of LACONIC_DATA."""
    parser = argparse.ArgumentParser(description=description)
    known = os.environ.get("LACONIC_DATA")
    parser.add_argument("--data", type=Path, default=known, required=known is None, help="folder with the Parquet files")
    folder: Path = parser.parse_args().data
    return folder


def main() -> None:
    folder = parse_data_folder("Rows of each benchmark in each training set: same text, same text or word 13-grams.")
    benchmarks = {name: read_problems(folder, name) for name in BENCHMARKS}
    overlaps = {name: benchmark_overlaps(read_problems(folder, name), benchmarks) for name in TRAINING_SETS}
    print("| benchmark | rows |", " | ".join(TRAINING_SETS), "|")
    print("|---|---|" + "---|" * len(TRAINING_SETS))
    for name, prompts in benchmarks.items():
        counts = [f"{len(o[name].same_text)}, {len(o[name].same_text_or_ngrams)}" for o in overlaps.values()]
        print(f"| {name} | {len(prompts)} |", " | ".join(counts), "|")


if __name__ == "__main__":
    main()
