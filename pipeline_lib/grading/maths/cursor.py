"""The tokens of an expression with a place in them, and which letters are names, functions, constants or words."""

import re
from collections.abc import Iterator

from pipeline_lib.grading.maths.lexer import CLOSING, COMMON_WORDS, OPENING, Token, Tokens
from pipeline_lib.grading.maths.trees import NotWhole, Tree, repeating_decimal

GREEK = frozenset((
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "rho",
    "sigma", "tau", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega",
    "ell", "hbar",
))  # fmt: skip
CONSTANTS = {"pi": "pi", "infty": "oo", "infinity": "oo", "inf": "oo", "oo": "oo", "imath": "i"}
FUNCTIONS = frozenset((
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "sinh", "cosh", "tanh", "coth",
    "ln", "log", "lg", "exp", "gcd", "lcm", "max", "min", "sqrt", "abs", "asin", "acos", "atan", "floor", "ceil", "sgn",
    "cbrt", "arg", "cis", "tg", "ctg", "cosec", "arctg", "arcctg", "sech", "csch", "arcsinh", "arccosh", "arctanh",
))  # fmt: skip
INVERSES = {name: f"arc{name}" for name in ("sin", "cos", "tan", "cot", "sinh", "cosh", "tanh")}
SAME_FUNCTIONS = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot", "cosec": "csc", "arctg": "arctan",
    "arcctg": "arccot",
}  # fmt: skip
ACCENTS = frozenset(
    ("\\dot", "\\ddot", "\\vec", "\\hat", "\\tilde", "\\overline", "\\angle", "\\triangle", "\\widetilde", "\\nabla")
)
# Letters that stand for a function wherever brackets follow, and those that do so before a single name or number.
ALWAYS_APPLIED, APPLIED_TO_ONE = frozenset("fFO"), frozenset("ghGHPpqoyuv")
CALCULUS = frozenset(("\\int", "\\sum", "\\prod", "\\lim", "\\iint", "\\oint", "\\limsup", "\\sup"))
TIMES = frozenset(("\\cdot", "\\times", "*"))
_UNBRACED = re.compile(r"\\(frac|binom)\s*([A-Za-z0-9])\s*([A-Za-z0-9])(?![A-Za-z0-9])")
_VOWELS = frozenset("aeiouAEIOU")
_WORD_FUNCTION = re.compile(r"(arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|ln|log|sqrt)([a-zA-Z]{0,2})")


class Cursor:
    """Tokens with words taken apart into letters, and a place in them."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = list(_single_letters(tokens))
        self.position = 0
        self.bars = 0
        self.degrees = 0

    def peek(self, offset: int = 0) -> str:
        index = self.position + offset
        return self.tokens[index].text if index < len(self.tokens) else ""

    def kind(self, offset: int = 0) -> str:
        index = self.position + offset
        return self.tokens[index].kind if index < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        text = self.peek()
        if not text or (expected is not None and text != expected):
            raise NotWhole
        self.position += 1
        return text

    def starts_factor(self) -> bool:
        """Whether what follows multiplies without a sign; a number only behind a bracket, with an exponent or before a command."""
        text, kind = self.peek(), self.kind()
        if kind == "number":
            before = self.tokens[self.position - 1].text
            return before in (")", "!") or self.peek(1) in ("^", "**") or (before == "}" and self.kind(1) == "command")
        if kind == "command":
            return text[1:] in GREEK or text[1:] in CONSTANTS or text[1:] in FUNCTIONS or text in ACCENTS or text in (
                "\\frac", "\\binom", "\\lfloor", "\\lceil",
            )  # fmt: skip
        return kind == "word" or text in ("(", "[", "{") or (text == "|" and not self.bars)

    def degree_sign(self) -> bool:
        for sign in (("°",), ("^", "\\circ"), ("^", "{", "\\circ", "}")):
            if all(self.peek(offset) == text for offset, text in enumerate(sign)):
                self.position += len(sign)
                return True
        return False

    def repeating(self, text: str) -> Tree:
        if "." not in text or self.take() not in ("\\overline", "\\dot"):
            raise NotWhole
        dotted = self.tokens[self.position - 1].text == "\\dot"
        digits = self.dotted_digits()
        if dotted and "\\dot" in (self.peek(), self.peek(1)):
            # Dots above the first and the last digit.
            digits += self.take() if self.kind() == "number" else ""
            self.take("\\dot")
            digits += self.dotted_digits()
        if not digits.isdigit():
            raise NotWhole
        return ("n", str(repeating_decimal(text, digits)))

    def dotted_digits(self) -> str:
        if self.peek() != "{":
            return self.take()
        self.take()
        digits = self.take()
        self.take("}")
        return digits

    def spelled_argument(self, letters: bool = False) -> str:
        """The argument as text, for names: x_{max}, \\vec{v}, \\angle ABC."""
        if self.peek() == "{":
            depth = 0
            words: list[str] = []
            while True:
                text = self.take()
                depth += (text == "{") - (text == "}")
                if depth == 0:
                    return "".join(words[1:])
                words.append(text)
        spelled = self.take()
        while letters and self.kind() == "word" and not self.tokens[self.position].spaced:
            spelled += self.take()
        return spelled


def _single_letters(tokens: Tokens) -> Iterator[Token]:
    """The tokens with words taken apart into letters, as products; raises NotWhole for a word that is none."""
    for index, token in enumerate(tokens):
        if token.text in ("\\top", "\\intercal"):
            token = Token("word", "T", token.spaced)
        word = token.text
        # In at^2 the letters are factors; in "at least" they are not.
        glued = len(word) == 2 and not token.spaced and not (index + 1 < len(tokens) and tokens[index + 1].kind == "word")
        if token.kind != "word" or len(word) == 1 or word in FUNCTIONS or word in CONSTANTS or word == "mod":
            yield token
        elif word in GREEK:
            yield Token("command", f"\\{word}", token.spaced)
        elif index and _in_subscript(tokens, index):
            yield token
        elif token.upright or not (
            (glued and word.islower()) or (len(word) == 2 and _has_exponent(tokens, index)) or is_product(word)
        ):
            match = _WORD_FUNCTION.fullmatch(word)
            if match is None or token.upright:
                raise NotWhole
            yield token._replace(text=match[1])
            yield from (Token("word", letter) for letter in match[2])
        else:
            yield from (Token("word", letter, token.spaced and not place) for place, letter in enumerate(word))


def _has_exponent(tokens: Tokens, index: int) -> bool:
    return index + 1 < len(tokens) and tokens[index + 1].text == "^"


def _in_subscript(tokens: Tokens, index: int) -> bool:
    """Whether the token stands behind the opening of a subscript or of an accent's argument."""
    before = tokens[index - 2].text if tokens[index - 1].text == "{" and index > 1 else ""
    return tokens[index - 1].text in ACCENTS or tokens[index - 1].text == "_" or before == "_" or before in ACCENTS


def is_product(word: str) -> bool:
    """Whether letters side by side are a product rather than a word or a name."""
    if not word.isascii() or word in COMMON_WORDS or _WORD_FUNCTION.fullmatch(word):
        return False
    if len(word) > 2 and (word.isupper() or word.istitle()):
        return False
    return (len(word) <= 3 and not (len(word) == 2 and word.istitle())) or not _VOWELS.intersection(word)


def applied(name: str, arguments: list[Tree], base: Tree | None, exponent: Tree | None) -> Tree:
    """A function with its arguments, its base (of a logarithm) and the exponent behind its name."""
    if base is not None and name != "log":
        raise NotWhole
    if len(arguments) > 1 and name not in ("gcd", "lcm", "max", "min"):
        raise NotWhole
    if exponent == ("n", "-1"):
        if name not in INVERSES:
            raise NotWhole
        return ("f", INVERSES[name], *arguments)
    if name in ("sqrt", "cbrt"):
        tree: Tree = ("root", arguments[0], ("n", "2" if name == "sqrt" else "3"))
    elif name == "exp":
        tree = ("^", ("c", "e"), arguments[0])
    elif name == "cis":
        tree = ("+", ("f", "cos", arguments[0]), ("*", ("c", "i"), ("f", "sin", arguments[0])))
    elif name == "lg":
        tree = ("f", "log", arguments[0], ("n", "10"))
    else:
        tree = ("f", "ln" if name == "log" and base is None else name, *arguments, *((base,) if base is not None else ()))
    return tree if exponent is None else ("^", tree, exponent)


def calculus_of(tokens: Tokens) -> Tree | None:
    """Sums, integrals and limits, for latex2sympy; it would skip what it does not know, so relations and words are refused."""
    before = (Token("sign", ""), *tokens)
    # 5 1 is a bound and an integrand, and \alpha x two factors; in \frac1n there is no space to be made up.
    glued = [one.kind in ("word", "command") and other.kind == "word" for one, other in zip(before, tokens, strict=False)]
    text = "".join((" " if token.spaced or apart else "") + token.text for token, apart in zip(tokens, glued, strict=True))
    is_plain = not any(token.upright or token.kind == "newline" or token.text in ("<", ">", "&", ";", "?") for token in tokens)
    balanced = sum((token.text in OPENING) - (token.text in CLOSING) for token in tokens) == 0
    text = _UNBRACED.sub(r"\\\1{\2}{\3}", text)
    return ("latex", text.strip()) if is_plain and balanced and ("=" not in text or "_{" in text) else None
