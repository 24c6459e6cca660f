"""How long a stage will still take, in words."""

import pytest

from tasks.progress import time_left


@pytest.mark.parametrize(
    ("done", "left", "seconds", "words"),
    [
        (0, 10, 5.0, ""),
        (10, 0, 5.0, ""),
        (10, 10, 5.0, "about 5 s left"),
        (10, 1, 1.0, "about 1 s left"),
        (10, 100, 9.0, "about 1 min 30 s left"),
        (1, 100, 120.0, "about 3 h 20 min left"),
    ],
)
def test_time_left_is_the_pace_so_far(done: int, left: int, seconds: float, words: str) -> None:
    assert time_left(done, left, seconds) == words
