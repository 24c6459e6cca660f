"""Finds benchmark problems inside training prompts: the same normalised text, or a large share of the word n-grams.

The share is of the benchmark problem's distinct n-grams and must lie in one training prompt. Paraphrases and translations are
not caught, and problems of fewer words than an n-gram only by their text.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline_lib.records import Prompt
from pipeline_lib.selection.normalise import problem_key

_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class OverlapPair:
    """A training prompt that shares text with a benchmark problem: `shared` of the problem's `total` distinct n-grams."""

    benchmark: str
    benchmark_id: str
    same_text: bool
    shared: int
    total: int

    @property
    def share(self) -> float:
        return self.shared / self.total if self.total else 0.0


class BenchmarkIndex:
    """All benchmark problems by normalised text and by word n-gram; training prompts are looked up one by one."""

    def __init__(self, benchmarks: Mapping[str, Sequence[Prompt]], ngram_words: int, ngram_overlap: float) -> None:
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
                benchmark=self._problems[position][0],
                benchmark_id=self._problems[position][1],
                same_text=position in same_text,
                shared=shared[position],
                total=self._num_ngrams[position],
            )
            for position in sorted(same_text | enough)
        ]


def word_ngrams(text: str, ngram_words: int) -> set[str]:
    """The distinct runs of `ngram_words` words, joined by spaces; words are runs of a–z and 0–9 in the lower-case NFKC text.

    LaTeX commands count as words without their backslash; letters of other alphabets separate words. Empty for shorter texts.
    """
    words = _WORD.findall(unicodedata.normalize("NFKC", text).lower())
    return {" ".join(words[start : start + ngram_words]) for start in range(len(words) - ngram_words + 1)}
