"""How much of a response repeats what it has said before, from its text alone."""

import re

import numpy as np

# So long that a formula or a turn of phrase that comes back does not count: a LaTeX fraction alone has seven words and signs.
PHRASE_WORDS = 16
# A word, a sign, or a character of a script that puts no blanks between words.
_CJK = "぀-ヿ㐀-鿿가-힯"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")
# Odd numbers without a pattern: distinct runs of words get distinct sums but once in 2**64.
_WEIGHTS = np.random.default_rng(20).integers(1, 2**63, PHRASE_WORDS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def repeated_fraction(text: str) -> float:
    """Share of the words and signs (0-1) that stand in a run of sixteen which has occurred before in the text."""
    words = _WORD.findall(text)
    num_runs = len(words) - PHRASE_WORDS + 1
    if num_runs < 2:
        return 0.0
    number = {word: index for index, word in enumerate(dict.fromkeys(words))}
    numbers_W = np.fromiter(map(number.__getitem__, words), dtype=np.uint64, count=len(words))
    runs_R = np.zeros(num_runs, dtype=np.uint64)
    for place, weight in enumerate(_WEIGHTS):
        runs_R += numbers_W[place : place + num_runs] * weight
    repeats_R = np.ones(num_runs, dtype=np.int16)
    repeats_R[np.unique(runs_R, return_index=True)[1]] = 0
    return float((np.convolve(repeats_R, np.ones(PHRASE_WORDS, dtype=np.int16)) > 0).mean())
