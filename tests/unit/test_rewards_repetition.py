"""Loops at the end of a text; and, on recorded rollouts, why the published guard is not used."""

import os
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline_lib.rewards.repetition import flags_of, unique_ngram_share, words_of

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("LACONIC_DATA", REPOSITORY.parent / "shared" / "data"))
RECORDED = DATA / "rollouts_skythought.parquet"
SENTENCES = [f"Step {number}: multiply the last result by {number + 2} and add {7 * number}." for number in range(60)]


def test_words_and_marks_are_counted():
    assert words_of(r"Wait, 2+2=4.") == ["Wait", ",", "2", "+", "2", "=", "4", "."]


def test_the_share_of_distinct_ngrams():
    # a b, b a, a b, b a, a c: 3 distinct of 5.
    assert unique_ngram_share(list("ababac"), 2) == pytest.approx(3 / 5)
    assert unique_ngram_share(list("abc"), 3) == 1.0
    assert unique_ngram_share(list("ab"), 3) == 1.0
    assert unique_ngram_share([], 1) == 1.0


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("", False),
        ("The answer is 4.", False),
        (" ".join(SENTENCES), False),
        ("no " * 12, True),
        (" ".join(SENTENCES) + " Wait, let me check that again." * 60, True),
        # The 400 words at the end count: 20 sentences of 8 words said before them, or a loop that was left behind.
        (" ".join(SENTENCES[:20]) + " Wait, let me check that again." * 60 + " ".join(SENTENCES), False),
        # Said twice, word for word: 16 words have 9 8-grams, the 1st and the 9th alike.
        ("one two three four five six seven eight " * 2, False),
        # 17 8-grams of 24 words, 8 distinct.
        ("one two three four five six seven eight " * 3, True),
    ],
)
def test_a_loop_at_the_end_is_found(text, loops):
    assert flags_of([text]).tolist() == [loops]


def test_one_flag_a_text():
    assert flags_of(["again and " * 20, "fine"]).tolist() == [True, False]
    assert flags_of([]).shape == (0,)


def published_guard(tokens):
    """hkust-nlp/Laser's rule, told again from its code: True where it finds a repetition."""
    size = 2 if len(tokens) < 30 else 3 if len(tokens) < 100 else 4
    times = 2 if len(tokens) < 200 else 3
    places = defaultdict(list)
    for place in range(len(tokens) - size + 1):
        phrase = tuple(tokens[place : place + size])
        if size == 2 or len(set(phrase)) > 1:
            places[phrase].append(place)
    for found in places.values():
        if len(found) >= times and any(b - a < len(tokens) // 3 for a, b in pairwise(found)):
            return True
    doubles = [tuple(tokens[place : place + 2 * size]) for place in range(len(tokens) - 2 * size + 1)]
    return len(tokens) > 8 and len(set(doubles)) < len(doubles)


@pytest.mark.skipif(not RECORDED.is_file(), reason="the recorded rollouts are not in the data folder (LACONIC_DATA)")
def test_on_recorded_rollouts_ours_flags_loops_and_the_published_guard_flags_nearly_all():
    rows = pq.read_table(RECORDED, columns=["response", "n_tokens", "correct", "truncated"]).slice(0, 1500).to_pylist()
    rows = [row for row in rows if row["n_tokens"] >= 300]
    flags = dict(zip(range(len(rows)), flags_of([row["response"] for row in rows]), strict=True))

    def share(kind):
        places = [place for place, row in enumerate(rows) if kind(row)]
        return sum(bool(flags[place]) for place in places) / len(places)

    assert share(lambda row: row["correct"]) < 0.01
    assert share(lambda row: row["truncated"]) > 0.1
    published = [published_guard(words_of(row["response"])) for row in rows if row["correct"]]
    assert sum(published) / len(published) > 0.98
