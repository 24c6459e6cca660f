r"""The final answer of a text from a file, where a prediction may be a bare answer or a whole response, with or without a box.

The last statement wins. A box counts as in training, except that boxes joined by "and" are one answer; a sentence "The final
answer is ..." after the last box replaces it (Minerva's format). Without a box, a text that is itself an answer is taken whole; in
prose, the answer is what follows the last "answer is" or "answer:", else the last formula, else the last number. Where the gold
answer is a choice letter, the letter that prose settles on is taken instead. Training never reads prose.
"""

import re

from pipeline_lib.grading.maths.boxed import extract_final_boxes, last_box_start
from pipeline_lib.grading.maths.normal_form import normalise

# Only the end of a long response is searched for an answer without a box.
LONGEST_SEARCH = 20_000
LONGEST_BARE_ANSWER = 1000
MOST_WORDS = 3

_FORMULA = re.compile(
    r"(?<!\\)\$\$(.+?)(?<!\\)\$\$|(?<!\\)\\\[(.+?)(?<!\\)\\\]|(?<![\\\d])\$([^\n$]+?)(?<!\\)\$|(?<!\\)\\\(([^\n]+?)(?<!\\)\\\)",
    re.DOTALL,
)
# Inline mathematics does not cross a line break (Markdown and math-verify agree); what is written that way is not read.
_BROKEN_FORMULA = re.compile(r"\\\(\s*\n.*?\\\)|(?<!\$)\$\s*\n[^$]*\n\s*\$(?!\$)", re.DOTALL)
_CONTROL_TOKEN = re.compile(r"<\|(?:im_start|im_end|endoftext|eot_id|end_of_text)\|>|</s>")
_LABEL = re.compile(r"[^\W\d_]{2,}(?:\s+[^\W\d_]+){0,3}\s*[:：]\s*(?=\S)")
_JOINT = re.compile(r"\s*(?:,?\s*(?:and|or)|,|;)\s*")
_NUMBER = re.compile(
    r"(?<![\w.,\\^{/])-?(?:\\[dt]?frac\{-?\d+\}\{-?\d+\}|[$€£]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:[.,]\d+)?(?:/\d+)?|\.\d+)"
    r"(?:\s*(?:\\?%|percent\b))?(?![A-Za-z_^{])",
    re.ASCII,
)
_FINAL_STATEMENT = re.compile(r"final answer\b[^\n]{0,60}?\bis\b\s*:?", re.IGNORECASE)
_STATEMENT = re.compile(
    r"\banswer\b(?:[^\n.:]{0,40}?\bis\b)?\s*:?|答案\w{0,2}\s*[:：是为]?|réponse\b|respuesta\b|antwort\b|ответ", re.IGNORECASE
)
_STATEMENT_LENGTH = 300
_VERB = re.compile(r"\b(?:is|are|equals)\b(?!.*\b(?:is|are|equals)\b)", re.DOTALL)
_HOPE = re.compile(r"\.?\s*I hope it is correct.*", re.DOTALL)

_LETTER = re.compile(r"(?<![A-Za-z0-9'’\\$])\(?([A-J])\)?(?![A-Za-z0-9'’])", re.ASCII)
_LETTER_FIRST = re.compile(r"\W*\(?([A-J])\)?(?![A-Za-z0-9'’])", re.ASCII)
_CHOICE = re.compile(r"\(?[A-J]\)?|\([A-J]\).*|[A-J][).:].*|[A-J] [A-Z]?[a-z]{2,}[a-z ]*", re.DOTALL)

_WORD = re.compile(r"[^\W\d_]{2,}")
_NO_WORDS = frozenset((
    "and", "or", "in", "mod", "pi", "sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "max", "min", "gcd",
    "lcm", "inf", "infty", "cup", "cap", "percent", "pct", "units", "unit", "cm", "mm", "km", "kg", "degrees", "degree",
    "dollars", "cents", "meters", "feet", "inches", "hours", "minutes", "seconds", "pm", "am",
))  # fmt: skip


def read_pair(gold: str, prediction: str) -> tuple[str, str | None]:
    """The gold answer and the predicted one, None when there is none. Equal texts are taken as they are."""
    gold_answer = read_gold(gold)
    is_same = 0 < len(normalise(prediction)) < 200 and normalise(prediction) == normalise(gold_answer)
    if prediction.strip() and (prediction.strip() == gold.strip() or is_same):
        return gold_answer, gold_answer
    return gold_answer, read_prediction(prediction, is_choice(gold_answer))


def read_gold(text: str) -> str:
    """The gold answer of a text: its boxes, or what a solution in prose ends with, or else the text itself."""
    mentions_choice = re.search(r"answer is\s*:?\s*\([A-J]\)", text) is not None
    return read_prediction(text, mentions_choice) or text.strip()


def is_choice(gold: str) -> bool:
    """Whether a gold answer is a choice letter, alone or with the choice's text."""
    return bool(_CHOICE.fullmatch(normalise(gold)))


def read_prediction(text: str, choice: bool = False) -> str | None:
    """The answer a text gives (see the module's docstring); None when its last box is malformed or empty, or it is empty.

    `choice` says that the gold answer is a choice letter.
    """
    start = last_box_start(text)
    if start is not None:
        return _after_final_statement(text[start:][:LONGEST_SEARCH]) or extract_final_boxes(text)
    text = _CONTROL_TOKEN.split(text.lstrip(), maxsplit=1)[0][-LONGEST_SEARCH:].strip()
    if not is_prose(text):
        return text or None
    letter = _read_letter(text) if choice else None
    readable = _BROKEN_FORMULA.sub(" ", text)
    answer = letter or _after_final_statement(readable) or _read_prose(readable)
    return answer or (text if len(text) <= LONGEST_BARE_ANSWER else None)


def is_prose(text: str) -> bool:
    """Whether a text speaks about an answer rather than being one."""
    if len(text) > LONGEST_BARE_ANSWER or _LABEL.match(text):
        return True
    outside, num_formulas = _FORMULA.subn(" ", text)
    bare = re.sub(r"\\begin\{\w+\}|\\end\{\w+\}|\\[A-Za-z]+", " ", outside)
    # Not alphabetic: 2¹⁰ and x₁.
    words = [word for word in _WORD.findall(bare) if word.isalpha() and word.lower() not in _NO_WORDS]
    if any(not character.isascii() for word in words for character in word) or re.search(r"[\u2e80-\u9fff]", bare):
        return num_formulas > 0 or bool(re.search(r"[A-Za-z0-9]", bare))
    return len(words) > (0 if num_formulas else MOST_WORDS) or "answer" in (word.lower() for word in words)


def _read_letter(text: str) -> str | None:
    statements = list(_STATEMENT.finditer(text))
    if statements and (match := _LETTER.search(text, statements[-1].end())):
        return match[1]
    if match := _LETTER_FIRST.match(text):
        return match[1]
    letters = _LETTER.findall(text)
    return letters[-1] if letters else None


def _after_final_statement(text: str) -> str | None:
    """What follows the last "final answer is"."""
    statements = list(_FINAL_STATEMENT.finditer(text))
    if not statements:
        return None
    tail = _HOPE.sub("", text[statements[-1].end() :][:_STATEMENT_LENGTH])
    return _first_candidate(tail)


def _read_prose(text: str) -> str | None:
    for statement in reversed(list(_STATEMENT.finditer(text))):
        tail = text[statement.end() :][:_STATEMENT_LENGTH]
        # "Answer: the largest n is 34" says it at the end of the sentence.
        verb = None if _VERB.search(statement[0]) else _VERB.search(_sentence(tail))
        answer = (_first_candidate(tail[verb.end() :]) if verb else None) or _first_candidate(tail)
        if answer is not None:
            return answer
    formulas = list(_FORMULA.finditer(text))
    number = _last_number(text[formulas[-1].end() :] if formulas else text)
    return number or (_joined_formulas(text, formulas) if formulas else None)


def _first_candidate(tail: str) -> str | None:
    """The first formula in the rest of a sentence, or a number: the last one behind an equals sign, else the first."""
    sentence = _sentence(tail)
    formulas = list(_FORMULA.finditer(tail))
    number = _NUMBER.search(sentence)
    if formulas and (number is None or formulas[0].start() <= number.start()):
        first = formulas[0]
        rest = [formula for formula in formulas if formula.start() < len(sentence)] or [first]
        return _joined_formulas(tail, _run_from(tail, rest))
    if number is None:
        return None
    return _last_number(sentence) if "=" in sentence else number[0].strip()


def _sentence(text: str) -> str:
    return re.split(r"\n\s*\n|(?<=[^\d\s])[.!?](?:\s|$)|。", text, maxsplit=1)[0]


def _run_from(text: str, formulas: list[re.Match[str]]) -> list[re.Match[str]]:
    run = formulas[:1]
    for formula in formulas[1:]:
        if not _JOINT.fullmatch(text[run[-1].end() : formula.start()]):
            break
        run.append(formula)
    return run


def _joined_formulas(text: str, formulas: list[re.Match[str]]) -> str:
    """The last formula with those before it that only "and", "or" or a comma separates, and a percent word behind it."""
    run = formulas[-1:]
    for formula in reversed(formulas[:-1]):
        if not _JOINT.fullmatch(text[formula.end() : run[0].start()]):
            break
        run.insert(0, formula)
    percent = re.match(r"\s*(?:\\?%|percent|pct)", text[run[-1].end() :])
    contents = [next(group for group in formula.groups() if group is not None).strip() for formula in run]
    return ", ".join(contents) + ("%" if percent else "")


def _last_number(text: str) -> str | None:
    numbers = list(_NUMBER.finditer(text))
    return numbers[-1][0].strip() if numbers else None
