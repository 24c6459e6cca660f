"""The stored difficulty profile of a planned run: pass rates, lengths, missing answers. DuckDB is imported only for a store."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline_lib.config import FilterConfig, RunConfig
from pipeline_lib.evaluation.missing_answers import MissingAnswers, missing_answers
from pipeline_lib.records import DifficultyEstimate
from pipeline_lib.rewards import Outcomes, make_reward
from pipeline_lib.runs.base_model import resolve_base_model
from pipeline_lib.selection.difficulty import EASY_PASS_RATE, EmptySelectionError, select_prompts

DATABASE_FILE = "laconic.duckdb"
LOCK_WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ProfiledGroup:
    """The rollouts of one prompt: tokens, correctness, and whether they ended before the profile's limit."""

    prompt_id: str
    lengths: tuple[int, ...]
    correct: tuple[bool, ...]
    finished: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """Pass rates of all profiled prompts; `groups` is empty where only pass rates are known."""

    run_id: str
    estimates: tuple[DifficultyEstimate, ...]
    groups: tuple[ProfiledGroup, ...] = ()
    missing_answers: MissingAnswers | None = None

    @property
    def description(self) -> str:
        num_rollouts = sum(len(group.lengths) for group in self.groups)
        known = f"{num_rollouts:,} rollouts" if num_rollouts else "pass rates only"
        return f"the stored profile of {self.run_id} was used ({len(self.estimates):,} prompts, {known})"

    def selected(self, rule: FilterConfig) -> "Profile":
        """What a filter keeps by pass rate alone; cleaning is not counted."""
        try:
            selections = select_prompts(self.estimates, rule)
        except EmptySelectionError:
            return replace(self, estimates=(), groups=())
        kept = {selection.prompt_id for selection in selections if selection.selected}
        return replace(
            self,
            estimates=tuple(estimate for estimate in self.estimates if estimate.prompt_id in kept),
            groups=tuple(group for group in self.groups if group.prompt_id in kept),
        )

    def hard_share(self) -> float | None:
        """Share of hard prompts (pass rate <= 0.5); None without prompts."""
        if not self.estimates:
            return None
        return sum(estimate.pass_rate <= EASY_PASS_RATE for estimate in self.estimates) / len(self.estimates)

    def correct_lengths(self) -> list[int]:
        """Lengths in tokens, rising, of the correct rollouts."""
        pairs = (pair for group in self.groups for pair in zip(group.lengths, group.correct, strict=True))
        return sorted(length for length, correct in pairs if correct)

    def too_long_share(self, limit_tokens: int) -> float | None:
        """Share of the rollouts that do not end within a limit; None without rollouts."""
        pairs = [pair for group in self.groups for pair in zip(group.lengths, group.finished, strict=True)]
        return sum(not finished or length > limit_tokens for length, finished in pairs) / len(pairs) if pairs else None

    def positive_share(self, config: RunConfig) -> float | None:
        """Share of the rollouts that the first step would reward above 0; None without rollouts.

        Rollouts longer than L_R count as cut there, and so as wrong. Groups of another size than most are left out.
        """
        if not self.groups:
            return None
        size, _ = Counter(len(group.lengths) for group in self.groups).most_common(1)[0]
        whole, limit = [group for group in self.groups if len(group.lengths) == size], config.train.rollout_limit_tokens
        outcomes = Outcomes.of(
            [group.lengths for group in whole], [group.correct for group in whole], [group.finished for group in whole]
        ).within(limit)
        reward = make_reward(config.reward, limit)
        reward.observe(outcomes)
        return float((reward.score(outcomes) > 0).mean())


def stored_profile(config: RunConfig, home: Path) -> Profile | str:
    """The profile stored for the inputs of a run, its own or another run's; or a sentence that says why none is used.

    No store is created.
    """
    if not (home / DATABASE_FILE).is_file():
        return f"no profile was used: there is no store in {home}"
    from pipeline_lib.stages.profile import profile_fingerprint
    from pipeline_lib.store.connections import StoreBusyError
    from pipeline_lib.store.database import Store

    try:
        fingerprint = profile_fingerprint(config, resolve_base_model(config).digest)
        store = Store(home, LOCK_WAIT_SECONDS)
        inputs = {"run_id": config.run_id, "fingerprint": fingerprint}
        found = store.named("stage_result_by_fingerprint", stage="profile", unit="", **inputs)
        if not found:
            return "no profile was used: none is stored for these inputs; run 'laconic profile' and check again"
        rows = store.named("difficulty_of_run", run_id=found[0]["run_id"])
        groups = store.named("profile_groups", **inputs)
        missing = missing_answers(store, groups[0]["run_id"], config.prompts) if groups else None
    except (ValueError, StoreBusyError) as error:
        return f"no profile was used: {error}"
    estimates = tuple(DifficultyEstimate(**{key: row[key] for key in DifficultyEstimate.__slots__}) for row in rows)
    lists = ("lengths", "correct", "finished")
    known = tuple(ProfiledGroup(row["prompt_id"], *(tuple(row[name]) for name in lists)) for row in groups)
    return Profile(found[0]["run_id"], estimates, known, missing)
