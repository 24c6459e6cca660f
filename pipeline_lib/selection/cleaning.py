"""Decides which training prompts stay: unanswered, pictured, contaminated, contradictory and repeated ones go."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline_lib.config import CleaningConfig
from pipeline_lib.records import Prompt
from pipeline_lib.selection.decontamination import BenchmarkIndex
from pipeline_lib.selection.normalise import normalise_answer, problem_key
from pipeline_lib.selection.pictures import find_missing_picture

# In order of precedence: a prompt that several rules would drop carries the first.
REASONS = (
    "empty_answer",
    "needs_picture",
    "benchmark_text",
    "benchmark_ngrams",
    "conflicting_answers",
    "exact_duplicate",
    "normalised_duplicate",
    "kept",
)


@dataclass(frozen=True, slots=True)
class CleaningVerdict:
    """What became of a prompt: `reason` is one of REASONS, for counting; `detail` says it to a reader, empty when kept."""

    prompt_id: str
    kept: bool
    reason: str
    detail: str


def clean_prompts(
    prompts: Sequence[Prompt],
    benchmarks: Mapping[str, Sequence[Prompt]],
    settings: CleaningConfig,
) -> list[CleaningVerdict]:
    """One verdict per prompt, in the prompts' order; `benchmarks` are problems by benchmark name.

    Groups of the same normalised text are formed over all prompts with an answer, also those that another rule drops, so a
    further benchmark or rule never brings a prompt back. Of a group the first may stay; where its answers conflict, which is to
    differ in more than formatting (see `normalise_answer`), none does, for it is not known which is right.
    """
    index = BenchmarkIndex(benchmarks, settings.ngram_words, settings.ngram_overlap) if settings.decontaminate else None
    repeats = _find_repeats(prompts, settings)
    verdicts = []
    for position, prompt in enumerate(prompts):
        found = _find_own_fault(prompt, settings, index) or repeats.get(position)
        reason, detail = found or ("kept", "")
        verdicts.append(CleaningVerdict(prompt.prompt_id, found is None, reason, detail))
    return verdicts


def _find_own_fault(prompt: Prompt, settings: CleaningConfig, index: BenchmarkIndex | None) -> tuple[str, str] | None:
    """Reason and detail of a fault that a prompt has whatever the other prompts are."""
    if not (prompt.answer.strip() or prompt.tests):
        return "empty_answer", "the answer is empty"
    if settings.pictures and (picture := find_missing_picture(prompt.problem)) is not None:
        return "needs_picture", f"refers to a picture that is not in the text: {_shorten(picture)!r}"
    pairs = index.find(prompt) if index is not None else []
    if not pairs:
        return None
    worst = max(pairs, key=lambda pair: (pair.same_text, pair.share))
    if worst.same_text:
        return "benchmark_text", f"same text as {worst.benchmark_id} of {worst.benchmark}"
    ngrams = f"{worst.shared} of the {worst.total} word {settings.ngram_words}-grams"
    return "benchmark_ngrams", f"holds {ngrams} of {worst.benchmark_id} of {worst.benchmark}"


def _shorten(text: str, num_characters: int = 60) -> str:
    return text if len(text) <= num_characters else text[: num_characters - 1] + "…"


def _find_repeats(prompts: Sequence[Prompt], settings: CleaningConfig) -> dict[int, tuple[str, str]]:
    """Reason and detail by position of the prompts whose normalised text stands elsewhere with another answer, or before."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for position, prompt in enumerate(prompts):
        if prompt.answer.strip() or prompt.tests:
            groups[problem_key(prompt.problem)].append(position)
    repeats: dict[int, tuple[str, str]] = {}
    for group in groups.values():
        members = [prompts[position] for position in group]
        if len(group) == 1:
            continue
        if settings.conflicting_answers and (rival := _find_conflict(members)) is not None:
            first = members[0]
            detail = (
                f"{len(group)} prompts have this text and their answers conflict: {_shorten(first.answer)!r} of "
                f"{first.prompt_id}, {_shorten(rival.answer)!r} of {rival.prompt_id}"
            )
            repeats.update(dict.fromkeys(group, ("conflicting_answers", detail)))
        elif settings.duplicates:
            repeats.update(_find_later_copies(group, members))
    return repeats


def _find_conflict(members: Sequence[Prompt]) -> Prompt | None:
    """The first member whose answer is not that of the first one."""
    bare = normalise_answer(members[0].answer)
    return next((member for member in members[1:] if normalise_answer(member.answer) != bare), None)


def _find_later_copies(group: Sequence[int], members: Sequence[Prompt]) -> dict[int, tuple[str, str]]:
    copies: dict[int, tuple[str, str]] = {}
    first_by_text = {members[0].problem: members[0]}
    for position, member in zip(group[1:], members[1:], strict=True):
        original = first_by_text.setdefault(member.problem, member)
        if original is member:
            copies[position] = ("normalised_duplicate", f"same text as {members[0].prompt_id} after normalisation")
        else:
            copies[position] = ("exact_duplicate", f"same text as {original.prompt_id}")
    return copies
