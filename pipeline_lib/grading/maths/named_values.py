r"""What stands before an equals sign and names a value without being an expression: \det A, P(X = 1), |AB|, \mathbb{E}[X]."""

import re

from pipeline_lib.grading.maths.cursor import CALCULUS, FUNCTIONS, GREEK
from pipeline_lib.grading.maths.expressions import parse_expression
from pipeline_lib.grading.maths.lexer import Tokens
from pipeline_lib.grading.maths.splitting import closing

LONGEST_LEAD = 16
_OPERATORS = frozenset(
    ("\\det", "\\deg", "\\dim", "\\Pr", "\\max", "\\min", "\\sup", "\\inf", "\\ker", "\\arg", "\\Re", "\\Im", "#")
)
_ENDS = {"|": "|", "||": "||", "[": "]", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
_BRACKETS = frozenset(("(", ")", "[", "]", "{", "}", "\\mathbb"))
# Words with which a lead is a condition, a hedge or a denial.
OTHER_WORDS = frozenset((
    "not", "no", "never", "nor", "neither", "without", "wrong", "false", "cannot", "or", "and", "either", "if", "for", "when", "where",
    "because", "since", "unless", "maybe", "perhaps", "approximately", "about",
))  # fmt: skip
_DIFFERENTIAL = re.compile(r"d\s*([a-zA-Z])(?![a-zA-Z])")
_BOUND = re.compile(r"_\s*\{\s*([a-zA-Z])\s*(?:=|\\to)")


def lead_of(tokens: Tokens) -> str | None:
    """The lead as a name without its brackets; None where the tokens are none."""
    if not tokens or not _is_lead(tokens):
        return None
    return "".join(token.text for token in tokens if token.text not in _BRACKETS)


def _is_lead(tokens: Tokens) -> bool:
    first = tokens[0]
    if first.text in _ENDS:
        end = _ENDS[first.text]
        return tokens[-1].text == end and sum(token.text in (first.text, end) for token in tokens) == 2
    if first.text in CALCULUS:
        return True
    head = 1
    if first.text == "\\mathbb":
        head = (closing(tokens, 1) or 0) + 1 if len(tokens) > 1 else 1
    is_operator = first.text in _OPERATORS or (first.kind == "word" and len(first.text) > 1)
    is_function = first.text.lstrip("\\") in FUNCTIONS and first.text not in ("\\sqrt", "sqrt")
    if not (is_operator or is_function or first.text == "\\mathbb" or first.kind == "word" or first.text[1:] in GREEK):
        return False
    while head + 1 < len(tokens) and tokens[head].text in ("_", "^", "'"):
        is_group = tokens[head].text != "'" and tokens[head + 1].text == "{"
        head = (closing(tokens, head + 1) or head) + 1 if is_group else head + (1 if tokens[head].text == "'" else 2)
    rest = tokens[head:]
    if (not rest and tokens[-1].text in ("*", "\\circ", "\\ast")) or tokens[-2:][0].text in ("*", "\\circ"):
        # The standard potential E^\\circ and the best x^*.
        return head > 1
    if rest and rest[0].text in ("(", "[") and closing(rest, 0) == len(rest) - 1:
        # x(y + 1) is a product.
        is_name = is_operator or is_function or first.text == "\\mathbb" or first.text.isupper() or first.text in "fghn"
        return is_name or parse_expression(rest[1:-1]) is None
    words = [token.text.lower() for token in tokens if token.kind == "word"]
    return (
        is_operator
        and 0 < len(rest) <= LONGEST_LEAD
        and not any(token.kind == "number" for token in rest)
        and not OTHER_WORDS.intersection(words)
    )


def is_closed(latex: str) -> bool:
    """Whether a sum, an integral or a limit has no free variable, so that it is a number."""
    bound = {*_DIFFERENTIAL.findall(latex), *_BOUND.findall(latex), "d", "e", "i"}
    letters = set(re.findall(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", " ", latex)))
    is_plain = not any(command in GREEK for command in re.findall(r"\\([a-zA-Z]+)", latex))
    return is_plain and bool(bound - {"d", "e", "i"}) and letters <= bound
