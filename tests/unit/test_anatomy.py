"""The anatomy of a response: restarts in nine languages, repeated passages, and where the right answer first stands."""

import pytest

from pipeline_lib.anatomy import dissect
from pipeline_lib.anatomy.repeats import repeated_fraction
from pipeline_lib.anatomy.restarts import PHRASES, UNSPACED, count_restarts
from pipeline_lib.anatomy.right_answer import first_appearance, is_searchable
from pipeline_lib.records import Grade, Prompt

RESTARTS = {
    "English": ("So x = 5. Wait, that's wrong.\n\nAlternatively, we could add.", 2),
    "German": ("Also x = 5. Moment mal, das stimmt nicht.\nIch prüfe das noch einmal.", 2),
    "French": ("Donc x = 5. Attends, je me suis trompé.\nUne autre méthode : additionner.", 2),
    "Spanish": ("Entonces x = 5. Espera, eso no es correcto.\nDe otra forma: sumamos.", 2),
    "Portuguese": ("Logo x = 5. Na verdade, errei.\nVamos verificar: 2 + 3.", 2),
    "Italian": ("Quindi x = 5. Aspetta, ho sbagliato.\nIn alternativa, sommiamo.", 2),
    "Russian": ("Итак, x = 5. Подождите, это неверно.\nПроверим: 2 + 3.", 2),
    "Chinese": ("所以答案是5。等等，不对。让我重新检查一下。", 2),
    "Japanese": ("答えは5です。待って、間違えました。別の方法で考えます。", 2),
}


def test_every_listed_language_is_shown() -> None:
    assert RESTARTS.keys() == PHRASES.keys() | UNSPACED.keys()


@pytest.mark.parametrize("language", RESTARTS)
def test_restarts_of_a_language(language: str) -> None:
    text, restarts = RESTARTS[language]
    assert count_restarts(text) == restarts
    assert count_restarts(text.upper()) == restarts, "whatever the case"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "await fetch(url)",
            "They wait 5 minutes.",
            "The waiter is waiting. Waiting is dull.",
            "It is actually 5.",
            "5, wait",
        ),
        *("Moment of inertia.", "Non-negative integers.", "That's correct. This is right.", "Enfin, en 5 ans.", "Se espera 5."),
        *(
            "苹果、梨、等等都是水果。",
            "不对称的图形。3 或者 5。",
            "もう一度も見ない。",
            "Ein Moment der Ruhe.",
            "Actualmente no.",
            "",
        ),
    ],
)
def test_words_that_only_look_like_restarts_are_none(text: str) -> None:
    assert count_restarts(text) == 0


@pytest.mark.parametrize(
    ("text", "restarts"),
    [
        ("Hmm, wait, actually, let me double-check.", 1),
        ("x is 12, but wait, no", 1),
        ("- **Wait** that", 1),
        ("okay\nwait let me double check\n", 1),
        ("wait. 5.\n" * 4, 4),
    ],
)
def test_phrases_one_upon_the_other_are_one_restart(text: str, restarts: int) -> None:
    assert count_restarts(text) == restarts


def test_repeated_passages() -> None:
    sentence = "The sum of the first ten numbers is fifty five, and that of the next ten is more."
    assert repeated_fraction(sentence) == repeated_fraction("") == 0.0
    assert repeated_fraction(f"{sentence} {sentence}") == 0.5
    assert repeated_fraction("so it goes " * 400) > 0.99
    assert repeated_fraction(f"{sentence} Now we look at something else. {sentence}") == pytest.approx(20 / 47)
    assert repeated_fraction("答案是五十五因为这十个数的和是五十五。" * 2) == 0.5, "without blanks a character is a word"


@pytest.mark.parametrize(
    ("text", "gold", "found"),
    [
        ("1540, 540.5, x^{540}, a_540 and -540; then 540 of them", "540", "540"),
        ("we get 12,345", "12345", "12,345"),
        ("Note that 1{,}000", "1,000", "1{,}000"),
        ("it is 25", "025", "25"),
        ("2 apples and 2x = 2y, so 2 + 3, x = 2 + 1. Then x = 2.", "2", "= 2"),
        ("step 2: the answer is **2**", "2", "**2"),
        ("\\[ x = \\boxed{7} \\]", "7", "{7"),
        ("答案是27。", "27", "27"),
        ("it is −5", "-5", "−5"),
        ("\\dfrac{14}{3}", "\\frac{14}{3}", "\\dfrac{14}{3}"),
        ("3/4 and \\dfrac{3}{4}; x = \\frac34", "3/4", "= \\frac34"),
        ("equals 0.750", "3/4", "0.750"),
        ("so $30^\\circ$ or an angle of $x = 30^\\circ$", "30°", "= 30"),
        ("$( 3 , \\frac{\\pi}{2} )$", "\\left(3, \\frac{\\pi}{2}\\right)", ")"),
        ("A point. The option is A.", "A", "is A"),
        ("on a tuesday; the day is tuesday", "\\text{Tuesday}", "is tuesday"),
        ("forty-two", "42", None),
    ],
)
def test_where_the_right_answer_first_stands(text: str, gold: str, found: str | None) -> None:
    end = first_appearance(text, gold)
    assert (end is None) == (found is None)
    assert found is None or text[: end or 0].endswith(found), text[:end]
    assert end is None or first_appearance(text[: end - len(found or "")], gold) is None, "nowhere before"


def test_what_the_problem_holds_has_to_be_stated() -> None:
    text = "There are 540 cars. 540 divided by 1. The result is 540."
    assert first_appearance(text, "540") == text.index("540") + 3
    assert first_appearance(text, "540", problem="Of 540 cars, how many?") == text.rindex("540") + 3


@pytest.mark.parametrize(
    "gold", ["", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}" * 2, "Suppose that x is even, then so is its square."]
)
def test_long_answers_and_proofs_cannot_be_told(gold: str) -> None:
    assert not is_searchable(gold)
    found = dissect("anything", 4, Prompt("p", "s", "math", "?", gold), Grade("x", True, "correct"))
    assert (found.answer_appears, found.tokens_to_answer) == (None, None)


def test_anatomy_of_responses() -> None:
    prompt = Prompt("p", "s", "math", "?", "0.5")
    text = "So x = 1/2. Wait, check it again: \\boxed{\\frac12}"
    right = dissect(text, 25, prompt, Grade("\\frac12", True, "correct"))
    assert (right.answer_appears, right.restarts, right.repeated_fraction) == (True, 1, 0.0)
    assert right.tokens_to_answer == 25, "its own answer is looked for as it is written"
    lost = dissect("x = 0.5, or \\boxed{2}", 10, prompt, Grade("2", False, "wrong"))
    assert (lost.answer_appears, lost.tokens_to_answer) == (True, 4), "a third of the characters, a third of the tokens"
    wrong = dissect("x = 2", 3, prompt, Grade(None, False, "no_answer"))
    assert (wrong.answer_appears, wrong.tokens_to_answer) == (False, None)
    code = dissect("0.5", 3, Prompt("p", "s", "code", "?", "0.5", tests="{}"), Grade("", True, "correct"))
    assert code.answer_appears is None
