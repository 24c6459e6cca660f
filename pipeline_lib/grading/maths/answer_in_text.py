r"""The final answer of a text from a file, where a prediction may be a bare answer or a whole response, with or without a box.

Thoughts (`<think>`) are no answer. A box counts as in training, except that boxes joined by "and" are one answer; a sentence "The
final answer is ..." after the last box replaces it (Minerva's format). Without a box these rules hold, the first that applies:

1. What follows the mark `####` (GSM8K).
2. A text that is itself an answer of a type is taken whole; so are up to three words.
3. What follows the last "answer" (in the languages of `_STATEMENT`): the rest of the sentence where that is an answer, else its first
   formula or number, with those that "and", "or" or a comma joins to it. Where the gold answer is a choice letter, the first letter.
4. What follows the last verb or equals sign of the last sentence, where that is an answer.
5. The last formula or, behind it, the last number, of the last sentence.

In prose what is denied (`not 5`), compared (`at least 5`, `5 or more`), hedged (`about 5`, `either B or C`, `if it is 5`) or altered
(`half of it is 5`, `5 squared`) is passed over.
Everything else is no answer. Training never reads prose.
"""

import itertools
import re

from pipeline_lib.grading.maths.answer_types import Answer, Assignments, Choice, Items, Named, Readings, Relation, Text, Union
from pipeline_lib.grading.maths.answers import read
from pipeline_lib.grading.maths.boxed import extract_final_boxes, last_box_start
from pipeline_lib.grading.maths.denials import JOINT, RETRACTION, is_denied
from pipeline_lib.grading.maths.lexer import lex

# Only the end of a long response is searched for an answer without a box.
LONGEST_SEARCH = 6_000
LONGEST_BARE_ANSWER = 1000
MOST_WORDS = 3

_FORMULA = re.compile(
    r"(?<!\\)\$\$(.+?)(?<!\\)\$\$|(?<!\\)\\\[(.+?)(?<!\\)\\\]|(?<![\\\d])\$([^\n$]+?)(?<!\\)\$|(?<!\\)\\\(([^\n]+?)(?<!\\)\\\)",
    re.DOTALL,
)
# Inline mathematics does not cross a line break (Markdown and math-verify agree); what is written that way is not read.
_BROKEN_FORMULA = re.compile(r"\\\(\s*\n.*?\\\)|(?<!\$)\$\s*\n[^$]*\n\s*\$(?!\$)", re.DOTALL)
_CONTROL_TOKEN = re.compile(r"<\|(?:im_start|im_end|endoftext|eot_id|end_of_text)\|>|</s>")
_THOUGHTS = re.compile(r"^.*</think>", re.DOTALL)
_RUN = re.compile(r"([\s$_])\1{2,}")
_EMPHASIS = re.compile(r"\*\*|__|^#{1,3}(?= )|`", re.MULTILINE)
_MARK = re.compile(r"####\s*(\S[^\n]*)")
_NUMBER = re.compile(
    r"(?<![\w.,\\^{}/])(?<!\}-)-?(?:\\[dt]?frac\{-?\d+\}\{-?\d+\}|[$€£]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:[.,]\d+)?(?:/\d+)?|\.\d+)"
    r"(?:\s*(?:\\?%|percent\b|°))?(?![A-Za-z_^{])",
    re.ASCII,
)
_FINAL_STATEMENT = re.compile(r"final answer\b[^\n]{0,60}?\bis\b\s*:?", re.IGNORECASE)
# English, German, French, Spanish, Portuguese, Italian, Russian, Chinese, Japanese.
_STATEMENT = re.compile(
    r"\banswer\b(?:[^\n.:]{0,40}?\bis\b)?\s*:?|\bantwort\b|\bréponse\b|\brespuesta\b|\bresposta\b|\brisposta\b|\bответ|答案|答え|答(?=[:：是])",
    re.IGNORECASE,
)
_LINK = re.compile(
    r"(?:\s|[:：=]|(?:is|are|ist|lautet|sind|est|sont|es|son|é|e|è|são|sono|это|равен|равна)\b|为|是|は|(?<=\s)[–—-](?=\s))+",
    re.IGNORECASE,
)
_VERB = re.compile(r"(?:\b(?:is|are|equals|costs?)\b|=)(?!.*(?:\b(?:is|are|equals|costs?)\b|=))", re.DOTALL)
_STATEMENT_LENGTH = 300
_HOPE = re.compile(r"\.?\s*I hope it is correct.*", re.DOTALL)
_LETTER = re.compile(r"(?<![A-Za-z0-9'’\\$])\(?([A-J])\)?(?![A-Za-z0-9'’])", re.ASCII)
_LETTER_FIRST = re.compile(r"\W*\(?([A-J])\)?(?![A-Za-z0-9'’])", re.ASCII)
_WORD = re.compile(r"[^\W\d_]{2,}")


def read_pair(gold: str, prediction: str) -> tuple[str, str | None]:
    """The gold answer and the predicted one, None when there is none. Equal texts are taken as they are."""
    gold_answer = read_gold(gold)
    stripped = "" if last_box_start(prediction) is not None else prediction.strip()
    if stripped and (stripped == gold.strip() or (len(stripped) < 200 and lex(stripped) and lex(stripped) == lex(gold_answer))):
        return gold_answer, gold_answer
    return gold_answer, read_prediction(prediction, is_choice(gold_answer))


def read_gold(text: str) -> str:
    """The gold answer of a text: its boxes, or what a solution in prose ends with, or else the text itself."""
    mentions_choice = re.search(r"answer is\s*(?::\s*)?\([A-J]\)", text) is not None
    return read_prediction(text, mentions_choice) or text.strip()


def is_choice(gold: str) -> bool:
    """Whether a gold answer is a choice letter, alone or with the choice's text."""
    return any(isinstance(answer, Choice) for answer in read(gold))


def read_prediction(text: str, choice: bool = False) -> str | None:
    """The answer a text gives (see the module's docstring); None when its last box is malformed or empty, or there is none.

    `choice` says that the gold answer is a choice letter.
    """
    text = _THOUGHTS.sub("", text)
    start = last_box_start(text)
    if start is not None:
        return _after_final_statement(text[start:][:LONGEST_SEARCH]) or extract_final_boxes(text)
    text = _CONTROL_TOKEN.split(text.lstrip(), maxsplit=1)[0].rstrip()[-LONGEST_SEARCH:].strip()
    # Long runs, through which patterns would go again and again.
    text = _RUN.sub(lambda run: run[1] * 2, text)
    marks = _MARK.findall(text)
    if marks:
        return str(marks[-1]).strip()
    if not text or is_answer(text, choice):
        return text or None
    text = _without_denied(_BROKEN_FORMULA.sub(" ", _EMPHASIS.sub("", text)), choice)
    return (_read_letter(text) if choice else None) or _after_final_statement(text) or _read_prose(text)


def is_answer(text: str, choice: bool = False) -> bool:
    """Whether a text is an answer rather than speaking about one; words alone are none where a choice letter is asked for."""
    if not text or len(text) > LONGEST_BARE_ANSWER:
        return False
    outside = _FORMULA.sub(" ", text)
    if outside.strip() and outside != text and _WORD.search(re.sub(r"\b(?:and|or)\b", " ", outside)):
        return False
    if any(_is_typed(answer) for answer in read(text)):
        return True
    has_number = any(character.isdigit() for character in text) and _WORD.search(re.sub(r"\\[A-Za-z]+", " ", text))
    return not choice and not has_number and not _STATEMENT.search(text) and len(_WORD.findall(text)) <= MOST_WORDS


def _is_typed(answer: Answer) -> bool:
    """Whether no part of an answer is mere text."""
    parts: tuple[Readings, ...] = ()
    if isinstance(answer, Items):
        parts = answer.items
    elif isinstance(answer, Union):
        parts = answer.parts
    elif isinstance(answer, Named):
        parts = (answer.value,)
    elif isinstance(answer, Relation):
        parts = answer.terms
    elif isinstance(answer, Choice) and answer.text:
        parts = (answer.text,)
    elif isinstance(answer, Assignments):
        parts = tuple(value for _, value in answer.values)
    return not isinstance(answer, Text) and all(any(_is_typed(part) for part in readings) for readings in parts)


def _without_denied(text: str, choice: bool) -> str:
    """The text with blanks for each formula, number and, where these are asked for, letter that it denies, compares or hedges."""
    kinds = (_FORMULA, _NUMBER, _LETTER) if choice else (_FORMULA, _NUMBER)
    denied = [
        match.span()
        for match in itertools.chain.from_iterable(kind.finditer(text) for kind in kinds)
        if is_denied(text, *match.span())
    ]
    for start, end in denied:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


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
    return _first_candidate(_HOPE.sub("", text[statements[-1].end() :][:_STATEMENT_LENGTH])) if statements else None


def _read_prose(text: str) -> str | None:
    statements = list(_STATEMENT.finditer(text))
    if statements and RETRACTION.search(text, statements[-1].end()):
        statements = []
    for statement in reversed(statements):
        tail = text[statement.end() :][:_STATEMENT_LENGTH]
        # "Answer: the largest n is 34" says it at the end of the sentence.
        verb = _VERB.search(_sentence(tail))
        answer = _whole_tail(tail) or (_first_candidate(tail[verb.end() :]) if verb else None) or _first_candidate(tail)
        if answer is not None:
            return answer
    sentence = _last_sentence(_HOPE.sub("", text))
    # An equals sign in a formula is part of it.
    verb = _VERB.search(_FORMULA.sub(lambda formula: "$" * len(formula[0]), sentence))
    if verb and (answer := _whole_tail(sentence[verb.end() :])):
        return answer
    start = text.rfind(sentence)
    formulas = [formula for formula in _FORMULA.finditer(text) if formula.end() > start]
    number = _last_number(text[formulas[-1].end() :] if formulas else sentence)
    return number or (_joined_formulas(text, formulas) if formulas else None)


def _whole_tail(tail: str) -> str | None:
    """The rest of a sentence where it is an answer from end to end."""
    link = _LINK.match(tail)
    rest = _sentence(tail[link.end() if link else 0 :]).strip().removesuffix(".").removesuffix("です")
    return rest if rest and not _FORMULA.search(rest) and is_answer(rest) and re.search(r"\d", rest) else None


def _first_candidate(tail: str) -> str | None:
    """The first formula in the rest of a sentence, or a number: the last one behind an equals sign, else the first; with those
    joined to it.
    """
    sentence = _sentence(tail)
    formulas = list(_FORMULA.finditer(tail))
    number = _NUMBER.search(sentence)
    if formulas and (number is None or formulas[0].start() <= number.start()):
        rest = [formula for formula in formulas if formula.start() < len(sentence)] or formulas[:1]
        return _joined_formulas(tail, _run_from(tail, rest))
    if number is None:
        return None
    if "=" in sentence:
        return _last_number(sentence)
    run = _run_from(sentence, list(_NUMBER.finditer(sentence)))
    return ", ".join(match[0].strip() for match in run)


def _sentence(text: str) -> str:
    return re.split(r"\n\s*\n|(?<=[^\d\s])[.!?](?:\s|$)|(?<=\d)\.\s+(?=[A-Z])|。", text, maxsplit=1)[0]


def _last_sentence(text: str) -> str:
    return str(re.split(r"\n|(?<=[^\d\s])[.!?]\s|(?<=\d)\.\s+(?=[A-Z])|。(?=.)", text.strip())[-1])


def _run_from(text: str, matches: list[re.Match[str]]) -> list[re.Match[str]]:
    run = matches[:1]
    for match in matches[1:]:
        if not JOINT.fullmatch(text[run[-1].end() : match.start()]):
            break
        run.append(match)
    return run


def _joined_formulas(text: str, formulas: list[re.Match[str]]) -> str:
    """The last formula with those before it that only "and", "or" or a comma separates, and a percent word behind it."""
    run = formulas[-1:]
    for formula in reversed(formulas[:-1]):
        if not JOINT.fullmatch(text[formula.end() : run[0].start()]):
            break
        run.insert(0, formula)
    percent = re.match(r"\s*(?:\\?%|percent|pct)", text[run[-1].end() :])
    contents = [next(group for group in formula.groups() if group is not None).strip() for formula in run]
    return ", ".join(contents) + ("%" if percent else "")


def _last_number(text: str) -> str | None:
    """The last number with those that it is listed with."""
    numbers = list(_NUMBER.finditer(text))
    run = numbers[-1:]
    for number in reversed(numbers[:-1]):
        if not JOINT.fullmatch(text[number.end() : run[0].start()]):
            break
        run.insert(0, number)
    return ", ".join(match[0].strip() for match in run) or None
