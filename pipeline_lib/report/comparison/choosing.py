"""Which problems are shown side by side: spread over the lengths, one that got fixed and one that broke."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline_lib.report.data import Row

LENGTHS = ("among the shortest", "of middle length", "among the longest")


@dataclass(frozen=True, slots=True)
class Choice:
    """A problem, and what it was chosen for."""

    prompt_id: str
    why: str


def choose_prompts(before: Mapping[str, Row], after: Mapping[str, Mapping[str, Row]]) -> list[Choice]:
    """Problems to look at: one fixed and one broken by training where there are such, then three spread over the lengths.

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
    return chosen + [Choice(prompt, f"{words} {who}") for words, prompt in _spread(by_length)]


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


def _spread(prompts: Sequence[str]) -> list[tuple[str, str]]:
    """Up to three prompts at even distances, both ends among them, each with what its length is."""
    last = max(0, len(prompts) - 1)
    picked = {round(place * last / 2): LENGTHS[place] for place in (2, 1, 0)} if prompts else {}
    return [(picked[index], prompts[index]) for index in sorted(picked)]
