"""Properties of the tiny task: splits never share a problem, every drawn trace is right and recognised."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.tiny_world.problems import FAMILIES, answer_of, draw_problems, random_problem, split_of
from pipeline_lib.tiny_world.traces import STYLES, boxed_answer, draw_trace, line_results, style_of

families = st.sampled_from(sorted(FAMILIES))
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=25, deadline=None)
@given(family=families, seed=seeds, other_seed=seeds, num_prompts=st.integers(1, 60), max_operand=st.integers(2, 9))
def test_splits_are_disjoint_whatever_the_draw(
    family: str, seed: int, other_seed: int, num_prompts: int, max_operand: int
) -> None:
    drawn = {
        split: {p.problem for p in draw_problems(family, split, num_prompts, draw_seed, 1, 7, max_operand)}
        for split, draw_seed in (("train", seed), ("validation", other_seed), ("test", seed))
    }
    assert all(len(problems) == num_prompts for problems in drawn.values())
    assert len(set.union(*drawn.values())) == 3 * num_prompts
    assert all(split_of(problem) == split for split, problems in drawn.items() for problem in problems)


@settings(max_examples=300, deadline=None)
@given(family=families, style=st.sampled_from(STYLES), num_operations=st.integers(1, 8), seed=seeds)
def test_every_trace_is_right_and_its_style_recognised(family: str, style: str, num_operations: int, seed: int) -> None:
    rng = random.Random(seed)
    problem = random_problem(FAMILIES[family], num_operations, rng, max_operand=6)
    trace = draw_trace(problem, style, rng)
    # An independent evaluation: the signed operands summed at once.
    signed = sum(int(problem[place + 2]) * (1 if problem[place + 1] in "+>" else -1) for place in range(1, len(problem), 3))
    expected = str((int(problem[0]) + signed) % (10 if family == "sum" else 7))
    assert boxed_answer(trace.response) == answer_of(problem) == expected
    assert style_of(trace.response) == trace.style
    lines = line_results(problem, trace.response)
    assert all(line.right and line.follows for line in lines)
    if style != "skip":
        assert sum(len(line.operands) for line in lines) % num_operations == 0 < len(lines)
