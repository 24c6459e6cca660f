"""Multiple choice: the letter that a response chooses, by rules that rather find none than a wrong one."""

import re
from collections.abc import Sequence
from typing import Any

from pipeline_lib.grading.maths.boxed import extract_last_box

LETTERS = "ABCDEFGHIJ"
# A whole answer that is a letter: B, (B), **B.**, \text{(B)}.
_LETTER = r"[\s*_$({\[]*(?:\\(?:text|textbf|mathrm|mathbf|rm|bf)\s*\{\s*\(?\s*)?([A-J])\b[\s*_)\]}.$:]*"
_ALONE = re.compile(_LETTER)
_OPTION = re.compile(r"^[ \t]*[*(]*([A-J])[ \t]*[).:][)*]*[ \t]+(\S.*)$", re.MULTILINE)
_INLINE = re.compile(r"\(([A-J])\)[ \t]*(.+?)(?=\([A-J]\)|\Z)", re.DOTALL)
# "The final answer is (B)", "Answer: B", "the correct option is **B**"; verb or colon must lead to the letter at once, and a bare A
# or I must not be a word of the sentence.
_SAID = re.compile(
    r"\b(?i:answer|option|choice)\b[\s*_]*(?:(?i:is|would be|must be)\b|[:=])[\s*_:]*+(?i:option|choice|letter)?[\s*_$]*+"
    r"(?:\\boxed\{)?(?:\\text\{)?(?:\(([A-Ja-j])\)|([AI])(?![\w'’]|[ \t]+(?!because\b|since\b)[a-z])|([B-HJ])(?![\w'’]))"
)
# How far back a sentence is looked for what denies it: a model may repeat itself without a full stop up to its last token.
_SENTENCE = 400
_DENIED = re.compile(r"\b(?:not|cannot|never|nor)\b|n['’]t\b", re.IGNORECASE)


def options_in(problem: str) -> dict[str, str]:
    """The options of a problem by letter, from its lines "A. text", "(A) text", "A) text", or "(A) text (B) text" in one line.

    The last run of letters from A on; empty where there is none.
    """
    for pattern in (_OPTION, _INLINE):
        found: dict[str, str] = {}
        for match in pattern.finditer(problem):
            letter, text = match.group(1), " ".join(match.group(2).split()).rstrip(" ,;")
            if letter == "A":
                found = {}
            if letter == LETTERS[len(found)]:
                found[letter] = text
        if len(found) > 1:
            return found
    return {}


def extract_choice(response: str, options: dict[str, str]) -> str | None:
    """The letter that a response chooses; None where it chooses none, or more than one. What it thinks before </think> is left out.

    The first that there is of: the last box; the last <answer> tag; the statements "the answer is (B)", which must agree; a last
    line that is a letter, where no other line is another. A box, tag or last line may hold the text of one option instead.
    """
    response = response.rpartition("</think>")[2]
    if (box := extract_last_box(response)) is not None:
        return choice_of(box, options)
    before, closed, _ = response.rpartition("</answer>")
    if closed and "<answer>" in before:
        return choice_of(before.rpartition("<answer>")[2], options)
    said = _SAID.finditer(response)
    letters = {(match[1] or match[2] or match[3]).upper() for match in said if not _denied(response, match)}
    if letters:
        return _known(letters.pop(), options) if len(letters) == 1 else None
    chosen = [choice_of(line, options) for line in response.splitlines() if line.strip()]
    # What repeats the options chooses none of them.
    return chosen[-1] if chosen and len({letter for letter in chosen if letter}) == 1 else None


def choice_of(text: str, options: dict[str, str]) -> str | None:
    """The letter that a whole text is, or whose option it is; None for anything else, and for an option that stands twice."""
    matched = _ALONE.fullmatch(text) or _OPTION.fullmatch(text.strip())
    if matched and (len(matched.groups()) == 1 or _plain(matched.group(2)) == _plain(options.get(matched.group(1), ""))):
        return _known(matched.group(1), options)
    plain = _plain(text)
    letters = [letter for letter, option in options.items() if plain and _plain(option) == plain]
    return letters[0] if len(letters) == 1 else None


def render_options(problem: str, options: Sequence[str]) -> str:
    """The problem with its options below it, a line each."""
    return "\n".join(
        [problem, *(f"{letter}. {' '.join(text.split())}" for letter, text in zip(LETTERS, options, strict=False))]
    )


def gold_letter(answer: Any, options: Sequence[str], labels: Sequence[str] = ()) -> str:
    """The letter of a gold answer given as place (from 0), label, letter or text of an option. Raises ValueError."""
    if len(options) > len(LETTERS):
        raise ValueError(f"{len(options)} options, where letters go to {LETTERS[-1]}")
    if isinstance(answer, int) and not isinstance(answer, bool) and not labels:
        places = {answer} if 0 <= answer < len(options) else set()
    else:
        text = str(answer).strip()
        by_label = [place for place, label in enumerate(labels or LETTERS[: len(options)]) if label == text]
        by_text = [place for place, option in enumerate(options) if _plain(option) == _plain(text)]
        places = set(by_label or by_text)
    if len(places) != 1:
        raise ValueError(f"the answer {answer!r} is not one of {len(options)} options")
    return LETTERS[places.pop()]


def _known(letter: str, options: dict[str, str]) -> str | None:
    return letter if not options or letter in options else None


def _denied(response: str, match: re.Match[str]) -> bool:
    """Whether the statement is denied or asked: "the answer is not (B)", "is the answer (B)?"."""
    first = max(0, match.start() - _SENTENCE)
    start = max(first, *(response.rfind(mark, first, match.start()) + 1 for mark in ".!?\n"))
    return bool(_DENIED.search(response, start, match.end())) or response[match.end() : match.end() + 2].lstrip(
        ") "
    ).startswith("?")


def _plain(text: str) -> str:
    return re.sub(r"[\s*_$]+", " ", text).strip(" .,;").casefold()
