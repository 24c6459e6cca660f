"""What a comparison of runs chooses and computes: Pareto front, problems to show, paired differences, what differs."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.transforms import Bbox

from pipeline_lib.report.comparison.choosing import choose_prompts
from pipeline_lib.report.comparison.collect import paired_differences
from pipeline_lib.report.comparison.data import ComparedRun, Comparison, run_keys, run_looks
from pipeline_lib.report.comparison.figures import budget_curves, dynamics_overlaid
from pipeline_lib.report.comparison.pareto import pareto_figure, pareto_front
from pipeline_lib.report.comparison.settings import differing_settings, run_labels
from pipeline_lib.report.comparison.tables import comparison_budget_tables, overview

BUDGETS = (24, 96)
Answers = dict[str, tuple[bool, int]]


def test_the_front_is_what_no_other_model_beats() -> None:
    assert pareto_front([(80.0, 76.0), (37.0, 90.0), (80.0, 98.0), (40.0, 90.0), (20.0, 10.0)]) == [4, 1, 2]


def test_equal_points_are_all_on_the_front() -> None:
    assert pareto_front([(10.0, 50.0), (10.0, 50.0), (10.0, 49.0), (11.0, 50.0)]) == [0, 1]


def test_one_point_is_its_own_front() -> None:
    assert pareto_front([(10.0, 0.0)]) == [0]
    assert pareto_front([]) == []


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=12))
def test_along_the_front_more_tokens_buy_accuracy_and_all_others_are_beaten(points: list[tuple[int, int]]) -> None:
    real = [(float(tokens), float(accuracy)) for tokens, accuracy in points]
    front = [real[place] for place in pareto_front(real)]
    kept = sorted(set(front))
    assert all(one[0] < two[0] and one[1] < two[1] for one, two in itertools.pairwise(kept))
    for point in real:
        assert point in front or any(best[0] <= point[0] and best[1] >= point[1] for best in front)


def rows(answers: Answers) -> dict[str, dict[str, Any]]:
    return {prompt: {"correct": correct, "num_tokens": tokens} for prompt, (correct, tokens) in answers.items()}


def test_one_fixed_one_broken_and_problems_of_every_length_are_chosen() -> None:
    before = rows({"a": (True, 10), "b": (False, 90), "c": (True, 50), "d": (True, 30), "e": (True, 70), "f": (True, 60)})
    after = rows({"a": (True, 9), "b": (True, 40), "c": (False, 20), "d": (True, 12), "e": (True, 31), "f": (True, 30)})
    chosen = choose_prompts(before, {"A": after})
    assert [(choice.prompt_id, choice.why) for choice in chosen] == [
        ("b", "fixed: wrong before, right in A"),
        ("c", "broken: right before, wrong in A"),
        ("a", "among the shortest before training"),
        ("f", "of middle length before training"),
        ("e", "among the longest before training"),
    ]


def test_a_flip_in_which_the_runs_disagree_tells_most() -> None:
    before = rows({"both": (False, 10), "one": (False, 20)})
    first, second = rows({"both": (True, 5), "one": (True, 5)}), rows({"both": (True, 5), "one": (False, 5)})
    chosen = choose_prompts(before, {"A": first, "B": second})
    assert (chosen[0].prompt_id, chosen[0].why) == ("one", "fixed: wrong before, right in A, still wrong in B")


def test_only_prompts_that_every_run_answered_are_chosen() -> None:
    before = rows({"a": (True, 10), "b": (True, 20), "c": (True, 30)})
    chosen = choose_prompts(before, {"A": rows({"a": (True, 1), "b": (True, 2)}), "B": rows({"b": (True, 2), "c": (True, 3)})})
    assert [choice.prompt_id for choice in chosen] == ["b"]


def test_without_a_base_the_first_run_gives_the_lengths() -> None:
    chosen = choose_prompts({}, {"A": rows({"a": (True, 5), "b": (False, 50)}), "B": {}})
    assert [(choice.prompt_id, choice.why) for choice in chosen] == [
        ("a", "among the shortest in the first run"),
        ("b", "among the longest in the first run"),
    ]
    assert choose_prompts({}, {"A": {}, "B": {}}) == []


@given(st.integers(0, 40))
def test_a_spread_holds_both_ends_and_nothing_twice(num_prompts: int) -> None:
    answers = rows({f"p{place:02}": (True, place) for place in range(num_prompts)})
    chosen = [choice.prompt_id for choice in choose_prompts(answers, {"A": answers})]
    assert len(chosen) == len(set(chosen)) == min(num_prompts, 3)
    if len(chosen) >= 2:
        assert {chosen[0], chosen[-1]} == {"p00", f"p{num_prompts - 1:02}"}


def sample(prompt: str, tokens: int, correct: bool = True, finish: str = "stop", benchmark: str = "sums") -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "prompt_id": prompt,
        "num_tokens": tokens,
        "finish_reason": finish,
        "correct": correct,
    }


def test_paired_differences_are_taken_prompt_by_prompt() -> None:
    first = [sample("p1", 100), sample("p1", 20), sample("p2", 50), sample("alone", 1)]
    other = [sample("p1", 20), sample("p1", 20), sample("p2", 30, correct=False), sample("elsewhere", 1)]
    [found] = paired_differences(first, other, {"sums": [24, 96]}, "B")
    assert (found.key, found.benchmark, found.num_prompts) == ("B", "sums", 2)
    # Within 24 tokens p1 goes from half to whole, p2 stays wrong; within 96 p2 is lost as well.
    assert found.accuracy[24][0] == pytest.approx((0.5 + 0.0) / 2)
    assert found.accuracy[96][0] == pytest.approx((0.5 - 1.0) / 2)
    # Lengths are cut at the largest budget: p1 has 58 on average, then 20; p2 50, then 30.
    assert found.tokens[0] == pytest.approx((-38 - 20) / 2)
    assert found.tokens[1] == pytest.approx(-38)
    assert found.tokens[2] == pytest.approx(-20)


def test_a_difference_that_every_prompt_shares_has_no_width() -> None:
    first = [sample(f"p{n}", 10 * n) for n in range(1, 8)]
    other = [sample(f"p{n}", 10 * n - 5) for n in range(1, 8)]
    [found] = paired_differences(first, other, {"sums": [96]}, "B")
    assert found.tokens == pytest.approx((-5.0, -5.0, -5.0))
    assert found.accuracy[96] == (0.0, 0.0, 0.0)


def test_a_truncated_response_is_not_right() -> None:
    [found] = paired_differences([sample("p", 24)], [sample("p", 24, finish="length")], {"sums": [24]}, "B")
    assert found.accuracy[24][0] == -1.0


def test_without_shared_prompts_or_budgets_there_is_no_difference() -> None:
    assert paired_differences([sample("p", 1)], [sample("q", 1)], {"sums": [24]}, "B") == []
    assert paired_differences([sample("p", 1)], [sample("p", 1)], {"sums": []}, "B") == []
    assert paired_differences([sample("p", 1)], [sample("p", 1, benchmark="other")], {"sums": [24], "other": [24]}, "B") == []


def test_only_differing_settings_are_listed() -> None:
    one = {"name": "a", "train": {"steps": 4, "lr": 0.1}, "evaluate": {"benchmarks": [{"name": "sums", "num_prompts": 5}]}}
    two = {"name": "b", "train": {"steps": 8, "lr": 0.1}, "evaluate": {"benchmarks": [{"name": "sums", "num_prompts": 9}]}}
    three = {"name": "c", "train": {"steps": 4, "lr": 0.1}, "extra": None, "reward": {"name": "kimi"}}
    assert differing_settings([one, two, three]) == [
        ("train.steps", ("4", "8", "4")),
        ("evaluate.benchmarks[sums].name", ("sums", "sums", "–")),
        ("evaluate.benchmarks[sums].num_prompts", ("5", "9", "–")),
        ("reward.name", ("–", "–", "kimi")),
    ]


def test_runs_of_one_name_are_told_apart_by_what_differs() -> None:
    configs = [{"train": {"steps": 4}, "seed": 0}, {"train": {"steps": 8}, "seed": 0}, {"seed": 0}]
    assert run_labels(["demo", "demo", "other"], ["d-1", "d-2", "o-1"], configs) == [
        "demo (steps=4)",
        "demo (steps=8)",
        "other",
    ]
    many = [dict.fromkeys("abc", place) for place in range(2)]
    assert run_labels(["demo", "demo"], ["d-1", "d-2"], many) == ["d-1", "d-2"]
    assert run_labels(["demo", "demo"], ["d-1", "d-2"], [{}, {}]) == ["d-1", "d-2"]


def test_every_run_has_a_letter_and_a_look_of_its_own() -> None:
    assert run_keys(28)[:3] + run_keys(28)[25:] == ["A", "B", "C", "Z", "AA", "AB"]
    looks = run_looks([str(place) for place in range(20)])
    assert len({(look.colour, str(look.line_style)) for look in looks}) == 20
    assert len({look.colour for look in looks[:6]}) == 6


def curve(num_steps: int, level: float) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "mean_tokens": level,
            "accuracy": 0.5,
            "reward_mean": 0.5,
            "entropy": level / 1000,
            "validation_accuracy": None,
            "grad_norm": 0.1,
        }
        for step in range(1, num_steps + 1)
    ]


def budget_rows(step: int, accuracy: float, tokens: float) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "benchmark": "sums",
            "budget_tokens": budget,
            "mean_at_k": accuracy,
            "pass_at_k": accuracy,
            "ci_low": max(0.0, accuracy - 0.05),
            "ci_high": min(1.0, accuracy + 0.05),
            "mean_tokens": min(tokens, budget),
            "mean_tokens_correct": None,
            "mean_tokens_incorrect": None,
            "truncated_fraction": 0.0,
        }
        for budget in BUDGETS
    ]


def comparison(num_runs: int, **changes: Any) -> Comparison:
    looks = run_looks([f"run {place}" for place in range(num_runs)])
    return Comparison(
        [
            ComparedRun(
                key=key,
                run_id=f"run-{place}",
                label=look.label,
                look=look,
                base_model="tiny",
                status="completed",
                **{
                    "curve": curve(6, 40.0 + place),
                    "budgets": [*budget_rows(0, 0.3, 80.0), *budget_rows(6, 0.3 + 0.05 * place, 20.0 + place)],
                    **changes,
                },
            )
            for place, (key, look) in enumerate(zip(run_keys(num_runs), looks, strict=True))
        ]
    )


def axes_of(figure: Any) -> Sequence[Any]:
    return [axis for axis in figure.axes if axis.get_visible() and axis.get_title(loc="left") + axis.get_title()]


def test_labels_of_six_runs_cover_no_other_label() -> None:
    figure = pareto_figure(comparison(6), "sums")
    assert figure is not None
    panels = axes_of(figure)
    assert len(panels) == len(BUDGETS)
    figure.draw_without_rendering()
    for panel in panels:
        labels = [text for text in panel.texts if text.get_text()]
        assert {text.get_text() for text in labels} == {"base", "A", "B", "C", "D", "E", "F"}
        boxes = [text.get_window_extent() for text in labels]
        inside = panel.get_window_extent()
        for place, box in enumerate(boxes):
            assert box.x0 >= inside.x0 - 2
            assert box.x1 <= inside.x1 + 2
            for other in boxes[:place]:
                shared = Bbox.intersection(box, other)
                assert shared is None or shared.width * shared.height < 0.25 * box.width * box.height


def test_dynamics_have_a_line_a_run_and_a_cross_an_alarm() -> None:
    alarm = {"step": 3, "kind": "entropy_spike", "value": 0.2, "threshold": 0.1, "action": "warn"}
    compared = comparison(3, alarms=[alarm])
    figure = dynamics_overlaid(compared.runs)
    assert figure is not None
    by_title = {axis.get_title(loc="left"): axis for axis in axes_of(figure)}
    assert not any("Held-out" in title for title in by_title)  # nobody recorded it
    crosses = [line for line in by_title["Entropy"].lines if line.get_marker() == "X"]
    assert [list(map(float, line.get_xdata())) for line in crosses] == [[3.0]] * 3
    assert not [line for line in by_title["Response length"].lines if line.get_marker() == "X"]
    drawn = [line for line in by_title["Response length"].lines if len(np.asarray(line.get_xdata())) == 6]
    assert len(drawn) == 3


def test_what_was_not_recorded_is_not_drawn() -> None:
    compared = comparison(2, curve=[], budgets=[])
    assert dynamics_overlaid(compared.runs) is None
    assert budget_curves(compared) is None
    assert pareto_figure(compared, "sums") is None
    assert comparison_budget_tables(compared) == []
    assert overview(compared)[0][1][-3:] == ("–", "–", "–")


def test_the_base_is_shown_once_and_every_run_by_its_last_model() -> None:
    compared = comparison(2, budgets=[*budget_rows(0, 0.3, 80.0), *budget_rows(3, 0.4, 50.0), *budget_rows(6, 0.5, 20.0)])
    [table] = comparison_budget_tables(compared)
    labels = [row.label for row in table.rows]
    assert labels == ["before RL", "A  run 0, step 3", "A  run 0, step 6", "B  run 1, step 3", "B  run 1, step 6"]
    assert overview(compared)[0][1][-3:] == ("20.0", "−75.0 %", "50.0 %")
    figure = budget_curves(compared)
    assert figure is not None
    [panel] = axes_of(figure)
    assert len([line for line in panel.lines if len(np.asarray(line.get_xdata())) == len(BUDGETS)]) == 3
