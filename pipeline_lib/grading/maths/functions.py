"""Functions in an expression: their bases, exponents and arguments, roots, derivatives and numbers of selections."""

import re
from abc import ABC, abstractmethod

from pipeline_lib.grading.maths.cursor import FUNCTIONS, SAME_FUNCTIONS, Cursor, applied
from pipeline_lib.grading.maths.lexer import Token
from pipeline_lib.grading.maths.trees import NotWhole, Tree, negative, symbols

LONGEST_DERIVATIVE = 24
_DERIVATIVE = re.compile(
    r"\{ (?P<d>d|\\partial) (?:\^ (?:\{ )?(?P<order>[2-9]) (?:\} )?)?(?P<function>[a-zA-Z] |\\[a-z]+ )?\} "
    r"\{ (?P=d) (?P<variable>[a-zA-Z]|\\[a-z]+) (?:\^ (?:\{ )?(?P<times>[2-9]) (?:\} )?)?\}"
)


class Functions(Cursor, ABC):
    """The part of the recursive descent that reads functions; the rest is the parser's (see expressions.py)."""

    @abstractmethod
    def sum(self) -> Tree: ...

    @abstractmethod
    def factor(self) -> Tree: ...

    @abstractmethod
    def atom(self) -> Tree: ...

    @abstractmethod
    def exponent(self) -> Tree: ...

    @abstractmethod
    def group(self, opening: str, closing: str) -> Tree: ...

    @abstractmethod
    def argument(self, whole_number: bool = False) -> Tree: ...

    @abstractmethod
    def bracketed_arguments(self) -> list[Tree]: ...

    def derivative(self) -> Tree | None:
        r"""The rest of \frac{dy}{dx} as the name that it is, or of \frac{d}{dx} with what it is applied to; None for a fraction."""
        match = _DERIVATIVE.match(
            " ".join(token.text for token in self.tokens[self.position : self.position + LONGEST_DERIVATIVE])
        )
        if match is None or match["order"] != match["times"]:
            return None
        start, variable = self.position, ("s", match["variable"])
        self.position += len(match[0].split())
        if match["function"]:
            return ("f", f" d{match['order'] or ''}", ("s", match["function"]), variable)
        if not self.starts_factor():
            self.position = start
            return None
        return ("f", "diff", self.function_argument(), variable, ("n", match["order"] or "1"))

    def root(self) -> Tree:
        index: Tree = ("n", "2")
        if self.peek() == "[":
            index = self.group("[", "]")
        if self.peek() == "(":
            return ("root", self.group("(", ")"), index)
        return ("root", self.argument(whole_number=True), index)

    def function(self, name: str) -> Tree:
        exponent = base = None
        if self.peek() == "_":
            base = self.base()
        if self.peek() == "^":
            self.take()
            exponent = self.exponent()
        if self.peek() == "_" and base is None:
            base = self.base()
        name = SAME_FUNCTIONS.get(name, name)
        self.degrees += 1
        if self.peek() in ("(", "{") or (self.peek() == "\\{" and name in ("max", "min")):
            arguments = self.bracketed_arguments()
        elif self.peek() == "[":
            arguments = [self.group("[", "]")]
        elif self.kind() == "number" and name in ("sqrt", "cbrt"):
            arguments = [self.atom()]
        else:
            arguments = [self.function_argument(name in ("ln", "log", "lg"))]
        self.degrees -= 1
        return applied(name, arguments, base, exponent)

    def base(self) -> Tree:
        r"""The base of a logarithm; where nothing follows its digits the first one is, as TeX takes \log_28."""
        self.take("_")
        token = self.tokens[self.position] if self.peek() else Token("", "")
        self.position += 1
        follows = self.starts_factor() or self.kind() == "number"
        self.position -= 1
        size = 2 if token.text.startswith("1") else 1
        if token.text.isdigit() and len(token.text) > size and not follows:
            parts = [token._replace(text=text) for text in (token.text[:size], token.text[size:])]
            self.tokens[self.position : self.position + 1] = parts
        return self.argument(whole_number=True)

    def function_argument(self, logarithm: bool = False) -> Tree:
        """What a function without brackets takes: the product that follows, up to a sign, a bracket or another function."""
        sign = self.take() if self.peek() in ("-", "+") else "+"
        tree = self.factor()
        while True:
            if self.peek() == "/" and self.kind(1) in ("number", "word"):
                # \sin x/x, ln 3/ln 2 and \ln 2 / 2 are quotients, \sin \pi / 3 the sine of one.
                is_apart = logarithm and self.tokens[self.position].spaced
                if is_apart or self.peek(1) in FUNCTIONS or self.peek(1) in symbols(tree):
                    return negative(tree) if sign == "-" else tree
                self.take()
                tree = ("/", tree, self.factor())
            elif self.starts_factor() and self.peek() not in ("(", "[") and self.peek().lstrip("\\") not in FUNCTIONS:
                tree = ("*", tree, self.factor())
            else:
                return negative(tree) if sign == "-" else tree

    def selections(self) -> Tree:
        """{}^5C_2, ^5C_2, _5C_2: the number of selections or arrangements."""
        if self.take() not in ("^", "_"):
            raise NotWhole
        total = self.argument(whole_number=True)
        letter = self.take()
        if letter not in ("C", "P") or self.take() != "_":
            raise NotWhole
        return ("f", "binom" if letter == "C" else "permutations", total, self.argument(whole_number=True))
