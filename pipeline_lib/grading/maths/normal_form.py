r"""One spelling for each answer: LaTeX that only changes the looks is removed, so that equal answers are mostly equal strings."""

import re
import unicodedata
from functools import lru_cache

# Longer answers are compared as they are: no benchmark has an answer of this length, and hostile ones can be megabytes.
LONGEST_ANSWER = 10_000

_CHARACTERS = {
    "−": "-", "–": "-", "—": "-", "﹣": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": "/", "∕": "/",
    "⁄": "/", "≤": r"\leq ", "≥": r"\geq ", "⩽": r"\leq ", "⩾": r"\geq ", "≠": r"\neq ", "≈": r"\approx ", "∞": r"\infty ",
    "π": r"\pi ", "√": r"\sqrt ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "±": r"\pm ", "∅": r"\emptyset ", "′": "'",
    "’": "'", "“": '"', "”": '"', "º": "°", "∘": "°", "。": ".", "、": ",", "∶": ":", "⟨": "(", "⟩": ")", "〈": "(", "〉": ")",
    "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ",
    "δ": r"\delta ", "θ": r"\theta ", "λ": r"\lambda ", "μ": r"\mu ", "φ": r"\varphi ", "ω": r"\omega ", "Ω": r"\Omega ",
}  # fmt: skip

# Digits above or below the line; as plain digits they would join the number in front: 2¹⁰ is not 210.
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋]+")

_TOKEN = r"(\d|[a-zA-Z]|\\[a-zA-Z]+)"
_WORD_END = r"(?![a-zA-Z])"
_PERCENT_WORDS = r"(?:percent(?:age)?|per\s+cent|pct)"

_REPLACEMENTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Delimiters and sizes.
        (r"(?<!\\)\\[()\[\]](?!\d*(?:pt|em|ex)\])", " "),
        (r"\\(?:left|right|middle)\s*\.(?!\d)", ""),
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits)" + _WORD_END, ""),
        (r"\\(?:phantom|hspace\*?|vspace\*?|label|tag\*?)\{[^{}]*\}", ""),
        # Spaces: a negative one joins, as in 12,\!345; \quad may be glued to what follows by careless escaping.
        (r"\\!\s*", ""),
        (r"\\q?quad|(?<!\\)\\[,;:> ]|\\(?:thinspace|enspace|space" + _WORD_END + r")|~|&nbsp;", " "),
        (r"\{\s*,\s*\}", ","),
        # Fonts.
        (r"\\(?:mathrm|mathbf|mathit|mathsf|mathtt|textbf|textit|textrm|textnormal|textsf|texttt|mbox|hbox|bm|boldsymbol"
         r"|operatorname\*?|emph|underline|rm|bf|it)\s*\{", r"\\text{"),
        (r"\{\\(?:rm|bf|it)\s+", r"{"),
        # Synonyms.
        (r"\\[dtc]frac" + _WORD_END, r"\\frac"),
        (r"\\(?:leqslant|leqq|le)" + _WORD_END, r"\\leq "),
        (r"\\(?:geqslant|geqq|ge)" + _WORD_END, r"\\geq "),
        (r"<=", r"\\leq "),
        (r">=", r"\\geq "),
        (r"\\lt" + _WORD_END, "<"),
        (r"\\gt" + _WORD_END, ">"),
        (r"\\ne" + _WORD_END, r"\\neq "),
        (r"\\(?:thickapprox|simeq|doteq)" + _WORD_END, r"\\approx "),
        (r"\\(?:langle|lparen)" + _WORD_END, "("),
        (r"\\(?:rangle|rparen)" + _WORD_END, ")"),
        (r"\\lbrace" + _WORD_END, r"\\{"),
        (r"\\rbrace" + _WORD_END, r"\\}"),
        (r"\\lbrack" + _WORD_END, "["),
        (r"\\rbrack" + _WORD_END, "]"),
        (r"\\(?:lvert|rvert|vert)" + _WORD_END, "|"),
        (r"\\colon" + _WORD_END, ":"),
        (r"\\(?:cdots|dots[cbmio]?)" + _WORD_END, r"\\ldots "),
        (r"\\varnothing" + _WORD_END, r"\\emptyset "),
        (r"(?<![a-zA-Z\\])(?:infinity|inf)" + _WORD_END, r"\\infty "),
        (r"\+\s*\\infty", r"\\infty"),
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degree" + _WORD_END + r"|\\textdegree" + _WORD_END, "°"),
        (r"\\text\{\s*" + _PERCENT_WORDS + r"\s*\}", "%"),
        (r"(?i)(?<=[\d.)}])\s*" + _PERCENT_WORDS + r"\b", "%"),
        (r"\\%|％", "%"),
        # Separators in words.
        (r"\\text\{\s*,?\s*(?:and|or)\s*,?\s*\}", ","),
        (r"(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])", ","),
        (r"(?:,\s*)+,", ","),
        # Currency.
        (r"\\\$|\$|\\(?:textdollar|pounds|euro|dollar)" + _WORD_END + r"|[€£¥₹]", " "),
    )
)  # fmt: skip

_STRUCTURE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Not behind a number, where \text{m} is a unit and m would be a variable.
        (r"(?<![\d}).])(?<![\d}).] )\\text\{\s*([a-zA-Z])\s*\}", r"\1"),
        (r"\\text\{\s*\}", ""),
        # Ordinals, and the power of a unit inside its \text{}.
        (r"(?<=\d)\^\s*\{?\\text\{(?:st|nd|rd|th)\}\}?", ""),
        (r"(\\text\{[^{}^]*[a-zA-Z])\^\{?(-?\d)\}?\s*\}", r"\1}^{\2}"),
        (r"\\frac\s*" + _TOKEN + r"\s*" + _TOKEN, r"\\frac{\1}{\2}"),
        (r"\\frac\s*" + _TOKEN + r"\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d|[a-zA-Z]|\\[a-zA-Z]+)", r"\1{\2}"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\sqrt\s*(\d+|[a-zA-Z]|\\[a-zA-Z]+)", r"\\sqrt{\1}"),
        (r"(\\sqrt\s*\[[^\]]*\])\s*(\d|[a-zA-Z])", r"\1{\2}"),
        (r"(?<![a-zA-Z\\])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"([\^_])\s*(\d+|[a-zA-Z])", r"\1{\2}"),
        (r"([\^_])\s*\(([^()]*)\)", r"\1{\2}"),
        (r"([\^_])\s*\{\s*\(([^()]*)\)\s*\}", r"\1{\2}"),
        (r"([\^_])\s*(\\[a-zA-Z]+)(?![a-zA-Z{])", r"\1{\2}"),
        (r"(?<!\d)\.(?=\d)", "0."),
    )
)

_LOOSE_COMMA = re.compile(r",\s")
_GROUPED = re.compile(r"(?<![\d.,])([1-9]\d{0,2}(?:,\d{3})+)(?![\d,])")
_BRACKET = re.compile(r"[(\[]|\\\{")
_SPACE_GROUPED = re.compile(r"(?<![\d.,] )(?<![\d.,])[1-9]\d{0,2}(?: \d{3})+(?!\d)(?! \d)")
# European; with a single point it would be a decimal.
_POINT_GROUPED = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:\.\d{3}){2,}(?![\d.])")
_DOUBLED_BACKSLASH = re.compile(r"\\\\(?=[a-zA-Z({\[\])}%$,;:!])")
# A space says something between two letters (words) or two digits (2 1/2); else it is for the eye.
_IDLE_SPACE = re.compile(r"(?<![0-9a-zA-Z])\s+|\s+(?![0-9a-zA-Z])|(?<=[0-9])\s+(?=[a-zA-Z])|(?<=[a-zA-Z])\s+(?=[0-9])")
_COMMAND_BEFORE_LETTER = re.compile(r"(\\[a-zA-Z]+)\s+(?=[a-zA-Z])")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_ENDS = " \t\r\n.,;:!"


@lru_cache(maxsize=65_536)
def normalise(text: str, join_thousands: bool = True) -> str:
    r"""The answer in one spelling; the empty string when nothing is left.

    Removed: mathematics delimiters, sizes, fonts, spacing, currency signs, punctuation at the ends. Unified: fractions and roots
    with or without braces, synonyms, Unicode signs, "and"/"or" as commas, thousands separators (`join_thousands`: "10,500" is a
    number; without it a list). A text longer than LONGEST_ANSWER characters is only stripped.
    """
    text = text.strip()
    if len(text) > LONGEST_ANSWER:
        return text
    if text.isascii() and text.isdigit():
        return text
    text = _plain_characters(text)
    if "matrix" not in text and "array" not in text:
        text = _DOUBLED_BACKSLASH.sub(r"\\", text)
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    text = _join_groups(text, join_thousands)
    for pattern, replacement in _STRUCTURE:
        text = pattern.sub(replacement, text)
    text = " ".join(text.split())
    text = _COMMAND_BEFORE_LETTER.sub(r"\1\0", text)
    text = _IDLE_SPACE.sub("", text).replace("\0", " ")
    return unwrap(_strip_ends(text))


def unwrap(text: str) -> str:
    r"""The text without braces, boxes or \text{} around the whole of it."""
    while True:
        start = 6 if text.startswith("\\text{") else 1 if text.startswith("{") else 0
        match = _BOXED.match(text)
        if match is not None:
            start = match.end()
        if not start or not closes_at_end(text, start - 1):
            return text
        text = _strip_ends(text[start:-1])


def closes_at_end(text: str, start: int) -> bool:
    """Whether the bracket that opens at `start` is closed by the last character; brackets of all kinds are counted alike."""
    depth = 0
    position = start
    while position < len(text):
        character = text[position]
        if character == "\\" and text[position + 1 : position + 2] not in "{}":
            position += 2
            continue
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth <= 0:
                return depth == 0 and position == len(text) - 1
        position += 1
    return False


def _strip_ends(text: str) -> str:
    stripped = text.strip(_ENDS)
    # ".5" and "n!" need what was at their ends.
    if text.rstrip(" \t\r\n.,;:").endswith("!") and stripped:
        stripped = text.rstrip(" \t\r\n.,;:").lstrip(_ENDS)
    return stripped.removesuffix("\\").rstrip() if stripped.endswith("\\") and not stripped.endswith("\\\\") else stripped


def _plain_characters(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    text = _RAISED.sub(lambda match: f"^{{{unicodedata.normalize('NFKC', match[0])}}}", text)
    text = _LOWERED.sub(lambda match: f"_{{{unicodedata.normalize('NFKC', match[0])}}}", text)
    characters = []
    for character in text:
        if character in _CHARACTERS:
            characters.append(_CHARACTERS[character])
        elif character.isascii() and character.isprintable():
            characters.append(character)
        elif character.isspace():
            characters.append(" ")
        else:
            characters.append(_plain_character(character))
    return "".join(characters)


def _plain_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return ""
    plain = unicodedata.normalize("NFKC", character)
    numerator, slash, denominator = plain.partition("⁄")
    return rf"\frac{{{numerator}}}{{{denominator}}}" if slash and denominator else plain


def _join_groups(text: str, join_thousands: bool) -> str:
    """Thousands separators removed where they can be nothing else: outside brackets, and not in a list without spaces."""
    if not join_thousands or not any(character.isdigit() for character in text):
        return text
    text = _POINT_GROUPED.sub(lambda match: match[0].replace(".", ""), text)
    text = _SPACE_GROUPED.sub(lambda match: match[0].replace(" ", ""), text)
    if "," not in text or _BRACKET.search(text):
        return text
    tight = _LOOSE_COMMA.sub("", text)
    if "," in _GROUPED.sub("", tight):
        return text
    return _GROUPED.sub(lambda match: match[0].replace(",", ""), text)
