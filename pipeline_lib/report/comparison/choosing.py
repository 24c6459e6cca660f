"""Which problems are shown side by side: spread over the lengths, one that got fixed and one that broke."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline_lib.report.data import Row

SPREAD = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """A problem, and what it was chosen for."""

    prompt_id: str
    why: str


def choose_prompts(before: Mapping[str, Row], after: Mapping[str, Mapping[str, Row]], num_spread: int = SPREAD) -> list[Choice]:
    """Problems to look at: one fixed and one broken by training where there are such, then `num_spread` over the lengths.

    `before`: the base's response to each prompt; `after`: each run's (by its letter). Only prompts that everyone answered come
    into question; without a base, lengths are those of the first run. A row has `correct` and `num_tokens`.
    """
    answered = [set(rows) for rows in after.values() if rows] + ([set(before)] if before else [])
    common = sorted(set.intersection(*answered)) if answered else []
    runs = {key: rows for key, rows in after.items() if rows}
    chosen = []
    if before:
        for was_right, word in ((False, "fixed"), (True, "broken")):
            flipped = [p for p in common if before[p]["correct"] is was_right and _flips(p, was_right, runs)]
            if flipped:
                best = max(flipped, key=lambda p: _telling(p, was_right, runs))
                chosen.append(Choice(best, _flip_words(best, was_right, word, runs)))
    lengths = before or next(iter(runs.values()), {})
    rest = [prompt for prompt in common if prompt not in {choice.prompt_id for choice in chosen}]
    by_length = sorted(rest, key=lambda prompt: (lengths[prompt]["num_tokens"], prompt))
    who = "before training" if before else "in the first run"
    for place, prompt in _spread(by_length, num_spread):
        chosen.append(Choice(prompt, f"{_length_word(place, num_spread)} {who}"))
    return chosen


def _flips(prompt: str, was_right: bool, runs: Mapping[str, Mapping[str, Row]]) -> list[str]:
    return [key for key, rows in runs.items() if rows[prompt]["correct"] is not was_right]


def _telling(prompt: str, was_right: bool, runs: Mapping[str, Mapping[str, Row]]) -> tuple[bool, bool, int]:
    """Runs that disagree tell most; of those, a flip in the first run; then how many flipped."""
    flips = _flips(prompt, was_right, runs)
    return len(flips) < len(runs), next(iter(runs)) in flips, len(flips)


def _flip_words(prompt: str, was_right: bool, word: str, runs: Mapping[str, Mapping[str, Row]]) -> str:
    flips = _flips(prompt, was_right, runs)
    others = [key for key in runs if key not in flips]
    now, still = ("wrong", "right") if was_right else ("right", "wrong")
    text = f"{word}: {still} before, {now} in {', '.join(flips)}"
    return f"{text}, still {still} in {', '.join(others)}" if others else text


def _spread(prompts: Sequence[str], count: int) -> list[tuple[int, str]]:
    """Up to `count` prompts at even distances, both ends among them."""
    if len(prompts) <= 1 or count == 1:
        return list(enumerate(prompts[:1]))
    picked = {round(place * (len(prompts) - 1) / (count - 1)): place for place in reversed(range(count))}
    return [(picked[index], prompts[index]) for index in sorted(picked)]


def _length_word(place: int, count: int) -> str:
    if place == 0:
        return "among the shortest"
    return "among the longest" if place == count - 1 else "of middle length"
