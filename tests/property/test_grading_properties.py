"""Laws of box extraction and of the exact grader."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.grading import extract_last_box, grade_responses

PLAIN = st.text(alphabet="abc123+-= \n", max_size=20)
BALANCED = st.recursive(
    st.text(alphabet="abc123+-= ", min_size=1, max_size=6),
    lambda inner: inner.map(lambda text: f"\\frac{{{text}}}"),
    max_leaves=4,
)


@settings(deadline=None)
@given(PLAIN, PLAIN, BALANCED, PLAIN)
def test_the_last_balanced_box_is_what_comes_back(before, earlier, content, after):
    response = f"{before}\\boxed{{{earlier}}}{before}\\boxed{{{content}}}{after}"
    assert extract_last_box(response) == (content.strip() or None)


@settings(deadline=None)
@given(BALANCED, st.data())
def test_a_box_cut_anywhere_before_its_end_earns_nothing(content, data):
    box = f"\\boxed{{{content}}}"
    cut = data.draw(st.integers(len("\\boxed"), len(box) - 1))
    assert extract_last_box("\\boxed{1} or rather " + box[:cut]) is None


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_graded_without_an_exception(response):
    (grade,) = grade_responses("exact", [response], ["8"], ["stop"])
    assert grade.correct == (grade.reason == "correct")
    assert (grade.answer is None) == (grade.reason == "no_answer")


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["7", "8"]), st.booleans()), max_size=12))
def test_each_rollout_gets_its_own_grade(rollouts):
    responses = [f"\\boxed{{{answer}}}" for answer, _ in rollouts]
    finish_reasons = ["length" if cut else "stop" for _, cut in rollouts]
    grades = grade_responses("exact", responses, ["8"] * len(rollouts), finish_reasons)
    assert [grade.correct for grade in grades] == [answer == "8" and not cut for answer, cut in rollouts]
    assert [grade.answer for grade in grades] == [answer for answer, _ in rollouts]
