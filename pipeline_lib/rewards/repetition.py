"""Texts that end in a loop: the guard of Laser-DE, and the share of distinct n-grams.

hkust-nlp/Laser (verl/utils/reward_score/compute_unique_tokens.py) flags a response in which any run of four tokens occurs three
times, two of them within a third of the response, or any run of eight occurs twice (shorter runs in short responses). That is so
sensitive that ordinary mathematics sets it off (docs/rewards.md has figures), and a bonus that it guards is hardly ever paid. The
rule here is meant for what the guard is meant for, a response that goes round in circles until it is cut.
"""

import re
from collections.abc import Sequence

import numpy as np

from pipeline_lib.rewards.base import BoolArray

_WORD = re.compile(r"\w+|[^\w\s]")
_TAIL_CHARACTERS = 8000
_TAIL_WORDS = 400
_PHRASE_WORDS = 8
_LOOP_SHARE = 0.5


def flags_of(texts: Sequence[str]) -> BoolArray:
    """flags_B: True for each text that ends in a loop."""
    return np.array([ends_in_a_loop(text) for text in texts], dtype=np.bool_)


def ends_in_a_loop(text: str) -> bool:
    """Whether fewer than half of the 8-grams among the last 400 words are distinct.

    Words and punctuation marks stand for tokens, so that recorded rollouts can be judged without their tokenizer. Only the end
    (and of it at most 8,000 characters) is read: a phrase that comes back in a long text is no loop.
    """
    return unique_ngram_share(words_of(text[-_TAIL_CHARACTERS:])[-_TAIL_WORDS:], _PHRASE_WORDS) < _LOOP_SHARE


def words_of(text: str) -> list[str]:
    """Words and punctuation marks, in order."""
    return _WORD.findall(text)


def unique_ngram_share(words: Sequence[str], size: int) -> float:
    """Distinct n-grams over all n-grams (0-1]; 1 for a text shorter than one n-gram.

    1 less this is the repetition penalty of arXiv 2502.03373 as TRL has it (n = 3).
    """
    phrases = list(zip(*(words[start:] for start in range(size)), strict=False))
    return len(set(phrases)) / len(phrases) if phrases else 1.0
