"""The gate against a plain-Python computation, its verdicts and their words, and how often it errs (by simulation)."""

import itertools
import random
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.config.retraining import GateConfig
from pipeline_lib.evaluation.gate import GateVerdict, judge_challenger
from pipeline_lib.records import Rollout

Answer = tuple[int, bool]  # tokens, right
Answers = Sequence[Sequence[Answer]]  # by prompt and sample


def rollouts(answers: Answers, limit_tokens: int = 10_000) -> list[Rollout]:
    return [
        Rollout(
            *("run", "evaluate", 0, "m", "b", f"p{prompt:04}", sample, min(tokens, limit_tokens)),
            *("stop" if tokens <= limit_tokens else "length", None, right, "", ""),
        )
        for prompt, group in enumerate(answers)
        for sample, (tokens, right) in enumerate(group)
    ]


def judge(champion: Answers, challenger: Answers, budgets: Sequence[int] = (100,), **rules: object) -> GateVerdict:
    settings = GateConfig.model_validate({"min_prompts": 1, "resamples": 500, **rules})
    return judge_challenger({"b": rollouts(champion)}, {"b": rollouts(challenger)}, budgets, settings, seed=0)


def draw(seed: int, prompts: int, samples: int, chance: float, tokens: tuple[int, int]) -> list[list[Answer]]:
    draws = random.Random(seed)
    return [[(draws.randint(*tokens), draws.random() < chance) for _ in range(samples)] for _ in range(prompts)]


def plain_percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def plain_score(group: Sequence[Answer], budget: int) -> float:
    return sum(1 for tokens, right in group if right and tokens <= budget) / len(group)


def plain_tokens(group: Sequence[Answer], budget: int) -> float:
    return sum(min(tokens, budget) for tokens, _ in group) / len(group)


def test_against_a_plain_computation_on_the_same_resamples() -> None:
    """Everything but the drawn numbers themselves is computed anew, without numpy."""
    champion, challenger = draw(1, 23, 3, 0.6, (20, 130)), draw(2, 23, 3, 0.7, (10, 110))
    budgets = (40, 80, 120)
    verdict = judge(champion, challenger, budgets, resamples=300, confidence=0.9)
    draws = np.random.default_rng([0, 0]).integers(23, size=(300, 23), dtype=np.int32).tolist()
    for comparison, budget in zip(verdict.comparisons, budgets, strict=True):
        before = [plain_score(group, budget) for group in champion]
        after = [plain_score(group, budget) for group in challenger]
        differences = [new - old for old, new in zip(before, after, strict=True)]
        resampled = [statistics.fmean(differences[index] for index in row) for row in draws]
        assert (comparison.champion, comparison.challenger) == pytest.approx(
            (statistics.fmean(before), statistics.fmean(after))
        )
        assert comparison.difference.value == pytest.approx(statistics.fmean(differences))
        assert comparison.difference.low == pytest.approx(plain_percentile(resampled, 5))
        assert comparison.difference.high == pytest.approx(plain_percentile(resampled, 95))
    before = [plain_tokens(group, 120) for group in champion]
    after = [plain_tokens(group, 120) for group in challenger]
    falls = [sum(after[i] - before[i] for i in row) / sum(before[i] for i in row) for row in draws]
    assert verdict.tokens.value == pytest.approx(statistics.fmean(after) - statistics.fmean(before))
    assert verdict.token_change.value == pytest.approx(statistics.fmean(after) / statistics.fmean(before) - 1)
    assert verdict.token_change.low == pytest.approx(plain_percentile(falls, 5))
    assert verdict.token_change.high == pytest.approx(plain_percentile(falls, 95))


def test_against_every_resample_there_is() -> None:
    """Of six prompts there are 6^6 draws: the intervals are those of all of them."""
    champion, challenger = draw(3, 6, 1, 1.0, (50, 90)), draw(4, 6, 1, 1.0, (20, 95))
    differences = [new[0][0] - old[0][0] for old, new in zip(champion, challenger, strict=True)]
    every = [statistics.fmean(drawn) for drawn in itertools.product(differences, repeat=6)]
    verdict = judge(champion, challenger, resamples=40_000)
    assert verdict.tokens.low == pytest.approx(plain_percentile(every, 2.5), abs=0.7)
    assert verdict.tokens.high == pytest.approx(plain_percentile(every, 97.5), abs=0.7)


def test_several_benchmarks_count_the_same() -> None:
    easy, hard = draw(5, 40, 2, 0.9, (10, 20)), draw(6, 40, 2, 0.3, (900, 1000))
    shorter_easy = [[(tokens // 2, right) for tokens, right in group] for group in easy]
    rules = GateConfig(min_prompts=1, resamples=500)
    before = {"easy": rollouts(easy), "hard": rollouts(hard)}
    after = {"easy": rollouts(shorter_easy), "hard": rollouts(hard)}
    verdict = judge_challenger(before, after, [1000], rules, seed=0)
    halved = sum(t for g in shorter_easy for t, _ in g) / sum(t for g in easy for t, _ in g) - 1
    assert verdict.token_change.value == pytest.approx(halved / 2)
    assert [each.benchmark for each in verdict.comparisons] == ["easy", "hard"]
    assert verdict.num_prompts == 80
    assert verdict.cause == "shorter"


STEADY = [[(90, prompt % 4 != 0)] for prompt in range(200)]


def test_shorter_and_as_right_is_promoted() -> None:
    verdict = judge(STEADY, [[(60 + prompt % 3, right)] for prompt, [(_, right)] in enumerate(STEADY)])
    assert (verdict.cause, verdict.promoted) == ("shorter", True)
    assert verdict.reason.startswith("Tokens fall by 32.2 % [32.1, 32.3], and accuracy is not worse at any budget by more than")


def test_more_right_at_equal_length_is_promoted() -> None:
    verdict = judge(STEADY, [[(90, right or prompt % 8 == 0)] for prompt, [(_, right)] in enumerate(STEADY)])
    assert verdict.cause == "more_accurate"
    assert verdict.reason.startswith("Accuracy rises by +12.5 [")


def test_more_right_but_longer_is_kept() -> None:
    verdict = judge(STEADY, [[(99, right or prompt % 8 == 0)] for prompt, [(_, right)] in enumerate(STEADY)])
    assert (verdict.cause, verdict.promoted) == ("no_gain", False)
    assert "a rise of tokens by more than 5 % cannot be ruled out" in verdict.reason
    assert judge(STEADY, [[(99, True)] for _ in STEADY], token_tolerance=0.2).promoted


def test_worse_at_one_budget_is_kept_and_the_budget_is_named() -> None:
    short_but_wrong = [[(30, right and prompt % 2 == 0)] for prompt, [(_, right)] in enumerate(STEADY)]
    verdict = judge(STEADY, short_but_wrong, budgets=(50, 100))
    assert [each.passed for each in verdict.comparisons] == [True, False]
    assert verdict.cause == "worse"
    assert verdict.reason.startswith("Worse: b within 100 tokens 75.0 → 25.0 %, difference -50.0 [")
    assert verdict.reason.endswith("where a loss of more than 2.0 points has to be ruled out.")


def test_too_few_prompts_are_told_from_worse() -> None:
    few = [[(90, prompt < 18)] for prompt in range(20)]
    challenger = [[(50, prompt < 17 or prompt == 19)] for prompt in range(20)]
    verdict = judge(few, challenger)
    assert verdict.cause == "undecided"
    assert verdict.reason.startswith(
        "Too few prompts to tell: tokens fall by 44.4 % [44.4, 44.4], but b within 100 tokens 90.0 →"
    )
    assert "90.0 %, difference 0.0 [" in verdict.reason
    assert "prompts would tell" in verdict.reason
    handful = judge(few, [[(50, right)] for [(_, right)] in few], min_prompts=30)
    assert handful.cause == "undecided"
    assert handful.reason.startswith("Too few prompts to tell: b has 20, and the gate asks for at least 30")


def test_where_nothing_is_gained_too_few_prompts_do_not_matter() -> None:
    few = [[(90, prompt < 18)] for prompt in range(20)]
    verdict = judge(few, [[(90, prompt < 17 or prompt == 19)] for prompt in range(20)])
    assert (verdict.cause, verdict.comparisons[0].passed) == ("no_gain", False)
    assert verdict.reason.startswith("Nothing was gained: tokens change by 0.0 % [0.0, 0.0], accuracy by 0.0 [")


def test_a_response_cut_off_at_the_limit_is_not_right() -> None:
    cut = {"b": rollouts([[(200, True)]] * 40, limit_tokens=100)}
    whole = {"b": rollouts([[(100, True)]] * 40, limit_tokens=100)}
    verdict = judge_challenger(cut, whole, [100], GateConfig(resamples=100), seed=0)
    assert (verdict.comparisons[0].champion, verdict.comparisons[0].challenger) == (0.0, 1.0)
    assert verdict.cause == "more_accurate"


def test_other_prompts_or_benchmarks_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="answered different prompts \\(1 only the champion, 0 only"):
        judge(STEADY, STEADY[:-1])
    with pytest.raises(ValueError, match="judged on different benchmarks"):
        judge_challenger({"b": rollouts(STEADY)}, {"c": rollouts(STEADY)}, [100], GateConfig(), 0)


def simulate(loss: float, shortening: int, seed: int, prompts: int = 120, samples: int = 2) -> tuple[Answers, Answers]:
    """Two models with the same skill a prompt, but for a loss of accuracy; the challenger is shorter."""
    draws = random.Random(seed)
    champion, challenger = [], []
    for _ in range(prompts):
        chance = draws.uniform(0.3, 0.9)
        champion.append([(80, draws.random() < chance) for _ in range(samples)])
        challenger.append([(80 - shortening + draws.randint(-5, 5), draws.random() < chance - loss) for _ in range(samples)])
    return champion, challenger


RULES: dict[str, Any] = {"accuracy_margin": 0.05, "resamples": 400}


@pytest.mark.parametrize(
    ("loss", "shortening", "at_most", "truth"),
    [
        (0.05, 40, 0.040, "half as long, but worse by exactly the margin at one budget"),
        (0.0, 0, 0.065, "the same model as the champion"),
    ],
)
def test_how_often_it_errs(loss: float, shortening: int, at_most: float, truth: str) -> None:
    """One bound errs in about 2.5 % of the cases; the same model may pass by either of two ways, so in about 5 %.

    Worse: at 60 tokens it gains, at 100 it loses exactly the margin, and the budget that fails decides. `at_most` is three
    standard deviations of 1000 draws and a little above; what docs/gate.md says is what is measured here.
    """
    promoted = sum(judge(*simulate(loss, shortening, seed), budgets=(60, 100), **RULES).promoted for seed in range(1000))
    print(f"{truth}: {promoted / 10:.1f} % promoted")
    assert promoted / 1000 <= at_most
    page = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")
    said = re.search(rf"^\| {truth} \| ([0-9.]+) % \|$", page, re.MULTILINE)
    assert said
    assert float(said[1]) == pytest.approx(promoted / 10, abs=0.2)  # another NumPy may draw otherwise


def test_it_never_errs_where_the_loss_is_large() -> None:
    much_worse = sum(judge(*simulate(0.15, 40, seed), budgets=(60, 100), **RULES).promoted for seed in range(100))
    assert much_worse == 0


def test_how_often_it_sees_a_gain() -> None:
    """A shorter model that is not worse passes most of the time once the prompts are many; with few it is told so."""
    many = [judge(*simulate(0.0, 20, seed, prompts=800), accuracy_margin=0.05, resamples=400) for seed in range(40)]
    assert sum(verdict.promoted for verdict in many) >= 30
    few = [judge(*simulate(0.0, 20, seed, prompts=40), accuracy_margin=0.02, resamples=400) for seed in range(40)]
    assert sum(verdict.cause == "undecided" for verdict in few) >= 30
