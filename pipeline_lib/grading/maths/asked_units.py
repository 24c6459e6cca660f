r"""The unit in which a problem (in English) asks for its answer, so that a bare gold answer meets no other unit.

It is read from the sentences that ask or say how to answer: behind "how many" and "the number of", "in", "to the nearest", a blank,
and from "what percent". Where a sentence asks for more than is understood, nothing is known and every unit may stand.
"""

import re
from functools import lru_cache

from pipeline_lib.grading.maths.lexer import lex
from pipeline_lib.grading.maths.unit_names import is_thing, unit_name
from pipeline_lib.grading.maths.units import PERCENT, PLAIN, Unit, conversion, read_unit

_QUESTION = re.compile(r"\b(?:what|how|find|determine|compute|calculate|evaluate|estimate|solve)\b", re.IGNORECASE)
_REQUEST = re.compile(rf"{_QUESTION.pattern}|\b(?:express|give|write|state|report|round|answer)\b", re.IGNORECASE)
_ASKING = re.compile(
    r"(?P<count>\bhow many (?:(?:more|fewer|less|additional|extra|total|whole|full|of the|of these) )*"
    r"|\b(?:what (?:is|was|are)|find|determine|compute|calculate|give|express) the (?:total |\w+est )?number of )"
    r"|(?P<form>\bin (?:units of )?)|(?P<nearest>\bnearest (?:whole |[\d.]+ |(?:tenth|hundredth|thousandth) of an? )?)"
    r"|(?P<blank>(?:_{2,}|(?:\\_)+|\\underline(?:\\[a-z]+(?:[\d.]+[a-z]{2})?)*)\s*)"
    r"|(?P<share>\b(?:what|how many) percent(?:age)?\b)",
    re.IGNORECASE,
)
_LAYOUT = re.compile(r"\\(?:text|textrm|mathrm|mbox|textup|rm|operatorname)\b|\\[,;!: ]|[${}~]|\\(?=%)")
_WORD = r"(?!(?:an?|as|at|in|is|of|to)\b)[A-Za-zΩµμ°%]+(?:\s?\^\s?-?\d)?"
_PHRASE = re.compile(rf"{_WORD}(?:(?:\s|-|\s?/\s?|\s?\\cdot\s?){_WORD}){{0,4}}")
_SENTENCE = re.compile(r"(?<=[.?!])\s+|\n\s*\n")
# The second of several parts, whose answers the gold answer may be.
_PART = re.compile(r"(?:^|[\s$])\((?:2|b|ii)\)|②", re.IGNORECASE)
# What may be asked for in the unit of a length ("the area, in cm").
_EXTENT = re.compile(r"\b(?:area|volume|surface|region)", re.IGNORECASE)
# Known units that are also things which other words may name.
_COUNTED = frozenset(("person", "unit", "turn", "cycle", "revolution"))
_ALSO_THINGS = frozenset(
    (
        "cup",
        "stone",
        "bar",
        "foot",
        "yard",
        "day",
        "week",
        "month",
        "year",
        "hour",
        "degree",
        "dollar",
        "cent",
        "pound",
        "second",
    )
)
# Names that problems use for each other.
_ALIKE = (
    frozenset(("degree", "celsius", "fahrenheit", "kelvin", "K", "C", "F")), frozenset(("pound", "pound_sterling")),
    frozenset(("ton", "tonne", "t")), frozenset(("calorie", "kilocalorie", "kcal", "cal")), frozenset(("year", "yr", "y")),
)  # fmt: skip

# The known units of what is asked for, none for a thing that is counted; whether it is a count, which "per hour" may follow.
Asked = tuple[Unit, bool]


def accepts_unit(problem: str, unit: Unit) -> bool:
    """Whether an answer in a unit may be right where the gold answer has none; True where the problem does not tell."""
    asked = _asked(problem)
    return not asked or not unit or any(_agree(one, unit) for one in asked)


@lru_cache(maxsize=1024)
def _asked(problem: str) -> tuple[Asked, ...]:
    """What is asked for, any of which may be the answer's; nothing where there is more than is understood."""
    asked: list[Asked] = []
    questions, of_extent = 0, False
    for sentence in _SENTENCE.split(_LAYOUT.sub("", problem.replace("\\_", "_").replace("\\circ", "°"))):
        start = _REQUEST.search(sentence)
        for match in _ASKING.finditer(sentence):
            is_asked = match["blank"] or (start is not None and match.start() >= start.start())
            if is_asked and (one := _read(match, sentence[match.end() :])) is not None:
                asked.append(one)
        found = len(_QUESTION.findall(sentence))
        questions, of_extent = questions + found, of_extent or (found > 0 and _EXTENT.search(sentence) is not None)
    if len(asked) < questions or _PART.search(problem):
        return ()
    if of_extent:
        asked += [(((unit[0][0], power),), False) for unit, _ in asked if len(unit) == 1 == unit[0][1] for power in (2, 3)]
    return tuple(dict.fromkeys(asked))


def _read(match: re.Match[str], rest: str) -> Asked | None:
    if match["share"]:
        return PERCENT, False
    phrase = _PHRASE.match(rest)
    if phrase is None or re.match(r" (?:and|or)\b", rest[phrase.end() :]):
        return None
    words = re.findall(rf"(?:\s|-|\s?/\s?|\s?\\cdot\s?)?{_WORD}", phrase[0])
    for end in range(len(words), 0, -1):
        found = read_unit(lex(rf"\mathrm{{{''.join(words[:end])}}}"))
        if found is None:
            continue
        known = _known(found[1])
        if found[0] != 1 or not found[1] or not (known or match["count"]):
            return None
        if known and (match["count"] or match["form"]) and not _is_measure("".join(words[:end])):
            return None
        if re.match(r"\s?(?:and|or)\b", "".join(words[end:])):
            return None
        if match["nearest"] and known == (("cent", 1),):
            return (("dollar", 1),), False
        # Of pages per hour or dollars per ticket, the answer may leave away what is per what.
        return known if len(known) == len(found[1]) else _above(known), bool(match["count"])
    return ((), True) if match["count"] and _is_count([word.strip().lower() for word in words]) else None


def _is_measure(text: str) -> bool:
    """Whether a unit is meant by what begins so: inches, cm, m/s, but not (in) year 5, in A, (how many) second graders."""
    first = re.split(r"[^\w°%]", text)[0]
    if (len(first) > 3 and first.endswith("s")) or first in PLAIN or (first.islower() and ("/" in text or "^" in text)):
        return True
    return first.lower() in ("feet", "percent", "square", "cubic", "sq", "cu", "celsius", "gb")


def _is_count(words: list[str]) -> bool:
    for end in range(1, min(3, len(words)) + 1):
        if unit_name(words[end - 1]) is not None:
            return False
        if is_thing(words[:end], single=False):
            return True
    return False


def _known(unit: Unit) -> Unit:
    """The part of a unit that is no thing counted."""
    return tuple((name, power) for name, power in unit if name not in _COUNTED and unit_name(name) is not None)


def _agree(asked: Asked, unit: Unit) -> bool:
    (wanted, is_count), given = asked, _known(unit)
    if not wanted or not given:
        # A thing for a thing; "per hour" alone says nothing about what is counted.
        return all(power < 0 for _, power in given) and (not wanted or any(name in _ALSO_THINGS for name, _ in wanted))
    pairs = [(wanted, given)]
    if is_count or wanted[0][0] in ("dollar", "cent", "percent"):
        pairs.append((_above(wanted), _above(given)))
    return any(one == other or _is_alike(one, other) or conversion(other, one) == 1 for one, other in pairs)


def _above(unit: Unit) -> Unit:
    return tuple(part for part in unit if part[1] > 0)


def _is_alike(one: Unit, other: Unit) -> bool:
    return any({name for name, _ in (*one, *other)} <= names for names in _ALIKE)
