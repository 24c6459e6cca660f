"""Answers that are not mathematics: words, choice letters, times and ratios, digits in a base.

Each function decides, or gives None when the pair is none of its business.
"""

import re

_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_TIME = re.compile(r"(\d+(?::\d+)+) ?([ap])?(?:\.?m\.?)?", re.IGNORECASE)
_BASED = re.compile(r"(?:(?=\(\w+\)_)\()?(-?[0-9A-F]+)\)?(?:_\{(\d{1,2})\})?", re.ASCII)
# MATH writes the base as a word at times.
_BASE_WORD = re.compile(r"_\{\\text\{(\w+)\}\}$")
_BASES = (
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
    "sixteen",
)  # fmt: skip
_CHOICE_LABEL = re.compile(r"(?:option|choice|answer)[ :]*(?=\(?[A-Z]\)?(?![a-zA-Z]))", re.IGNORECASE)
_CHOICE = re.compile(r"\(?([A-Z])\)?")
_CHOSEN = re.compile(r"\(([A-Z])\).*|([A-Z])[).:].*|([A-Z])(?: [A-Z]?[a-z]{2,}[a-z ]*)?", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+")
_NOT_WORDS = re.compile(r"[\\\d=<>+*/^_{}|()\[\]]")
_FUNCTIONS = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "pi", "infty", "theta", "alpha"))


def _plain(text: str) -> str:
    return _TEXT.sub(r"\1", text)


def same_time(gold: str, answer: str) -> bool | None:
    """Times and ratios: 4:51:06 p.m. is 4:51:06, but not 3:51:06. Morning and afternoon count where both say which."""
    if ":" not in gold or ":" not in answer:
        return None
    one, other = _TIME.fullmatch(_plain(gold).strip()), _TIME.fullmatch(_plain(answer).strip())
    if one is None or other is None:
        return None
    if one[2] and other[2] and one[2].lower() != other[2].lower():
        return False
    return [part.lstrip("0") for part in one[1].split(":")] == [part.lstrip("0") for part in other[1].split(":")]


def same_digits_in_base(gold: str, answer: str) -> bool | None:
    """Numerals with a base: 4210_{5} is 4210 when only one side names the base, and never 4210_{7}."""
    if "_" not in gold and "_" not in answer:
        return None
    one, other = (_BASED.fullmatch(_BASE_WORD.sub(_base_digits, text)) for text in (gold, answer))
    if one is None or other is None or not any(match[1].lstrip("-").isdigit() for match in (one, other)):
        return None
    return one[1] == other[1] and (one[2] is None or other[2] is None or one[2] == other[2])


def _base_digits(match: re.Match[str]) -> str:
    return f"_{{{_BASES.index(match[1]) + 2}}}" if match[1] in _BASES else match[0]


def same_choice(gold: str, answer: str) -> bool | None:
    """Multiple choice: (A), A and "A. Paris" are the same choice. None unless the gold answer is or starts with a choice."""
    gold_text, answer_text = (_CHOICE_LABEL.sub("", _plain(text).strip(), count=1) for text in (gold, answer))
    gold_only, answer_only = _CHOICE.fullmatch(gold_text), _CHOICE.fullmatch(answer_text)
    chosen, answered = _CHOSEN.fullmatch(gold_text), _CHOSEN.fullmatch(answer_text)
    if (gold_only is None and answer_only is None) or chosen is None or answered is None:
        return None
    return _letter(chosen) == _letter(answered)


def _letter(match: re.Match[str]) -> str:
    return match[1] or match[2] or match[3]


def same_words(gold: str, answer: str) -> bool | None:
    """Words are compared as words, whatever their case and punctuation; names such as LQSX are not products of letters."""
    one, other = _words(gold), _words(answer)
    if one is None and other is None:
        return None
    if one is None or other is None:
        # Words on one side only: the other may still be a spelling that algebra reads, such as a product of letters.
        return None if _WORD.fullmatch(gold + answer) else False
    return one == other


def _words(text: str) -> str | None:
    """The words in lower case without spaces; None when the text is, or could be, mathematics."""
    plain = _plain(text)
    words: list[str] = _WORD.findall(plain)
    if not words or _NOT_WORDS.search(plain) or _FUNCTIONS.intersection(words):
        return None
    if plain == text and not any(_is_word(word) for word in words):
        return None
    if len(words) > 1 and words[0].lower() in ("a", "an", "the"):
        words = words[1:]
    return "".join(words).lower().replace("solutions", "solution")


def _is_word(word: str) -> bool:
    return len(word) > 3 or (len(word) == 3 and word.isupper()) or (len(word) > 1 and word[0].isupper() and word[1:].islower())
