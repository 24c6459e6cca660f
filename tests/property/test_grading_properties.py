"""Laws of box extraction, of the exact grader and of the paths of the maths grader that need no algebra."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.grading import extract_last_box, grade_responses
from pipeline_lib.grading.maths.answer_in_text import read_prediction
from pipeline_lib.grading.maths.grader import compare_answers, is_same_text, judge_answers
from pipeline_lib.grading.maths.lexer import lex
from pipeline_lib.grading.maths.nodes import holds

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


NUMBERS = st.fractions(min_value=-10_000, max_value=10_000, max_denominator=500)
# A negative time limit fails any comparison that would need algebra.
NO_ALGEBRA = -1.0


def judge(answer: str, gold: str) -> str:
    return judge_answers([(answer, gold)], NO_ALGEBRA)[0]


def spellings(value: Fraction) -> list[str]:
    """The number in every exact form it has."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    top, bottom = size.numerator, size.denominator
    forms = [f"{sign}{top}/{bottom}", f"{sign}\\frac{{{top}}}{{{bottom}}}", f"{sign}\\dfrac{{{3 * top}}}{{{3 * bottom}}}"]
    forms += [f"${sign}\\tfrac{{{top}}}{{{bottom}}}$", f"\\frac{{{sign}{top}}}{{{bottom}}}", f"\\boxed{{{sign}{top}/{bottom}}}"]
    if bottom == 1:
        forms += [
            f"{sign}{top}",
            f"{sign}{top:,}",
            f"{sign}{top}.0",
            f"{sign}{top:,}".replace(",", ",\\!"),
            f"{sign}{top}\\text{{ cm}}",
        ]
        forms += [f"{sign}{top}\\text{{ centimeters}}", f"{sign}{top} cm", f"x = {sign}{top}", f"{sign}{top} \\times 10^{{0}}"]
    elif top > bottom:
        forms.append(f"{sign}{top // bottom}\\frac{{{top % bottom}}}{{{bottom}}}")
    if 1000 % bottom == 0:
        forms += [
            f"{sign}{float(size):.3f}",
            f"{sign}{float(size * 1000):.0f} \\times 10^{{-3}}",
            f"{sign}{float(size * 100):.1f}\\%",
        ]
    return forms


@settings(deadline=None)
@given(NUMBERS, st.data())
def test_a_number_is_right_in_every_spelling(value, data):
    forms = spellings(value)
    assert judge(data.draw(st.sampled_from(forms)), data.draw(st.sampled_from(forms))) == "correct"


@settings(deadline=None)
@given(NUMBERS, NUMBERS, st.data())
def test_a_wrong_number_is_never_right(value, other, data):
    if other in (value, value * 100, value / 100):
        return
    gold, answer = data.draw(st.sampled_from(spellings(value))), data.draw(st.sampled_from(spellings(other)))
    if "%" in gold or "%" in answer:
        return
    assert judge(answer, gold) == "wrong"


@settings(deadline=None)
@given(NUMBERS, st.integers(0, 12))
def test_a_decimal_is_right_only_when_it_is_a_rounding_with_enough_digits(value, decimals):
    scaled = round(value * 10**decimals)
    shown = Fraction(scaled, 10**decimals)
    text = (
        f"{'-' if shown < 0 else ''}{abs(scaled) // 10**decimals}.{abs(scaled) % 10**decimals:0{decimals}d}"
        if decimals
        else str(scaled)
    )
    enough = decimals >= 4 and len(str(abs(scaled))) >= 4
    gold = f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    close = decimals > 0 and abs(shown - value) <= Fraction(1, 10**8) * min(Fraction(1), abs(value))
    assert judge(text, gold) == ("correct" if shown == value or enough or close else "wrong")


SPACES = st.sampled_from(["", " ", "  ", "\n", "\\, ", "\\;", "~", "\t"])


@settings(deadline=None)
@given(st.lists(st.integers(-99, 99), min_size=1, max_size=5, unique=True), st.randoms(use_true_random=False), SPACES)
def test_lists_and_sets_are_unordered_and_tuples_are_not(numbers, random_source, space):
    shuffled = list(numbers)
    random_source.shuffle(shuffled)
    gold, answer = ", ".join(map(str, numbers)), f",{space} ".join(map(str, shuffled))
    assert judge(answer, gold) == "correct"
    assert judge(f"$ {answer} $", gold) == "correct"
    assert judge(f"\\left\\{{{answer}\\right\\}}", f"\\{{{gold}\\}}") == "correct"
    assert judge(f"({answer})", f"({gold})") == ("correct" if shuffled == numbers else "wrong")
    assert judge(f"{answer}, 100", gold) == "wrong"


@settings(deadline=None)
@given(
    st.text(alphabet="0123456789.,/-+%(){}[]\\ xyfrac^_=<>$", max_size=24), st.text(alphabet="0123456789.,/-x(){}", max_size=12)
)
def test_any_two_texts_are_compared_alike_both_ways_without_an_exception(one, other):
    forth, back = compare_answers(one, other), compare_answers(other, one)
    # Only a gold answer without a value, such as 0/0, is a question of its own.
    assert isinstance(forth, bool) == isinstance(back, bool) or holds(forth, "undefined") or holds(back, "undefined")
    if isinstance(forth, bool) and isinstance(back, bool):
        assert forth == back
    if lex(one) and "$" not in one and not one.rstrip().endswith("\\"):  # which would make the closing dollar sign a currency
        assert is_same_text(one, f" ${one}$ ")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_reading_any_text_from_a_file_never_raises(text):
    answer = read_prediction(text)
    assert answer is None or answer.strip()
