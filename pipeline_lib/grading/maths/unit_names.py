r"""Which words may stand behind a number as its unit: known units, and things counted.

A word that is neither changes the value or says something else (`5 tens`, `5 squared`, `5 percent off`), and what it stands in is no
number with a unit. Known units are spelled as here; the case of a letter counts where another case is another unit (`g`, `G`; `mm`,
`Mm`). A thing counted is a plural noun with at most two words before it: a noun that ends in "s", or one of the irregular ones.
"""

import re
from collections import defaultdict
from functools import lru_cache

from pipeline_lib.grading.maths.lexer import COMMON_WORDS

_PREFIXES = "k M G T c d da h m n p f u μ"
_PREFIXED = "m g s A K J N W V C F H T L S Pa Hz eV mol Wb Bq Gy Sv bar cal B b t pc Wh Ah Ω"
_SYMBOLS = """
    h d u min hr sec yr wk mo in ft yd mi oz lb gal qt pt tsp tbsp ha cc ly au sr rad deg gon lx lm cd rpm rps fps psi ppm ppb mph kph
    Å hp atm torr mmHg kgf lbf BTU nmi kohm Mohm Gohm mohm dB usd eur gbp
"""
_LONG_PREFIXES = "kilo mega giga tera milli micro nano pico centi deci deca hecto"
_LONG_PREFIXED = """
    meter gram liter second watt joule newton volt ampere amp hertz pascal ohm byte bit calorie electronvolt tesla farad henry coulomb
    mole ton tonne
"""
_LONG = """
    minute hour day week fortnight month year decade century millennium inch foot yard mile furlong fathom league acre hectare gallon
    quart pint cup ounce pound stone teaspoon tablespoon bushel barrel carat knot degree radian steradian revolution turn cycle
    arcminute arcsecond kelvin candela lumen lux becquerel sievert atmosphere celsius fahrenheit percent dollar cent euro penny
    pound_sterling yen yuan rupee peso ruble won baht rand ringgit lightyear parsec angstrom person unit square cubic squared cubed
"""
# In the scripts where a word for a thing is no plural that could be told by its form.
_COUNTERS = """
    元 人 次 页 岁 歳 米 厘米 毫米 千米 公里 克 千克 公斤 吨 升 度 天 日 小时 時間 分钟 分 秒 円 回 см м мм км кг г мин ч руб рублей
"""
_MEASURE_WORD = re.compile("[个個名种種只支条本張张位件][^百千万亿億倍半多负負余几幾分]*")
SYNONYMS = {
    "$": "dollar", "usd": "dollar", "buck": "dollar", "¢": "cent", "€": "euro", "eur": "euro", "£": "pound_sterling",
    "gbp": "pound_sterling", "¥": "yen", "₹": "rupee", "%": "percent", "pct": "percent", "percentage": "percent",
    "°": "degree", "deg": "degree", "rad": "radian", "hr": "hour", "hrs": "hour", "sec": "second", "secs": "second",
    "mins": "minute", "yr": "year", "yrs": "year", "gm": "gram", "gms": "gram", "kgs": "kg", "cms": "cm", "inche": "inch",
    "in": "inch", "feet": "foot", "kmh": "kph", "kmph": "kph", "lbs": "pound", "sq": "square",
    "cu": "cubic", "people": "person", "unit": "", "l": "L", "ml": "mL", "cl": "cL", "dl": "dL", "hertz": "hertz",
    "celsius": "celsius", "lux": "lux", "penny": "cent", "old": "", "KB": "kB", "rs": "rupee", "inr": "rupee", "kilo": "kg",
}  # fmt: skip
_IRREGULAR = """
    children men women mice geese teeth oxen fish sheep deer dice data criteria radii loci foci formulae series species
    alumni cacti bacteria offspring cattle police maxima minima extrema polyhedra tetrahedra octahedra matrices vertices
    indices
"""
_IRREGULAR_PLURALS = frozenset(_IRREGULAR.split())
# Words behind a number that make another number of it, or leave it open.
_NUMBER_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty seventy eighty ninety"
)
_ALTERING = frozenset(
    f"""{_NUMBER_WORDS} {"s ".join(_NUMBER_WORDS.split())}s sixes twenties zero zeroes hundred hundreds thousands
    half halves third thirds quarter quarters tithe twice thrice double doubles triple quadruple fold folds times plus minus less
    more fewer greater smaller larger higher lower longer shorter above below under over beyond beneath short off extra up down
    negative negatives positive opposite inverse inverses reciprocal reciprocals complement complements factorial factorials
    square cube root modulo mod remainder rest base hex hexadecimal octal binary decimal recurring repeating percent percents per each
    every except excluding excluded besides unless perhaps always sometimes maybe roughly nearly almost ish circa unlike versus vs
    minuses pluses exponent power log bc bce ad ce googol googols googolplex mil mille millier milliers millones veces fois
    mal menos moins docenas dizaines negativos negativas""".split()
)
# Words that say which things are counted, though they alter a value where no noun follows.
_KINDS = frozenset(("negative", "positive", "square", "cube", "right", "odd", "even"))
_ORDINAL = re.compile(
    r"(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|\w+teen|\w+tie|hundred|thousand|\d)ths?|\w*illi(?:on|ard|one)\w*"
)
_SINGULAR_ENDS = ("s", "ed", "ly", "th", "est", "ive")


def _known_units() -> tuple[frozenset[str], frozenset[str]]:
    symbols = {prefix + symbol for symbol in _PREFIXED.split() for prefix in ("", *_PREFIXES.split())}
    words = {prefix + word for word in _LONG_PREFIXED.split() for prefix in ("", *_LONG_PREFIXES.split())}
    # 5 B are five billion rather than bytes.
    return frozenset(symbols - {"B", "b"} | {*_SYMBOLS.split(), *_COUNTERS.split()}), frozenset(words | {*_LONG.split()})


_ABBREVIATIONS, _WORDS = _known_units()
_BY_LOWER_CASE: dict[str, list[str]] = defaultdict(list)
for _unit in _ABBREVIATIONS:
    _BY_LOWER_CASE[_unit.lower()].append(_unit)


@lru_cache(maxsize=4096)
def unit_name(word: str) -> str | None:
    """The one name of a known unit; None for any other word."""
    if word in SYNONYMS:
        return SYNONYMS[word]
    if word in _ABBREVIATIONS or _MEASURE_WORD.fullmatch(word):
        return word
    if len(word) == 1:
        return None
    lower = word.lower().replace("metre", "meter").replace("litre", "liter")
    # Words are the same in capitals, abbreviations where no other unit has the same letters.
    for name in (lower, lower.removesuffix("s"), lower.removesuffix("es"), lower.removesuffix("ies") + "y"):
        if name in SYNONYMS and len(name) > 1:
            return SYNONYMS[name] if word.islower() or len(_BY_LOWER_CASE.get(name, ())) < 2 else None
        if name in _WORDS:
            return name
    return _BY_LOWER_CASE[lower][0] if len(_BY_LOWER_CASE.get(lower, ())) == 1 else None


def alters(word: str) -> bool:
    """Whether a word behind a number changes its value or leaves it open."""
    return word in COMMON_WORDS or word in _ALTERING or _ORDINAL.fullmatch(word) is not None


def thing_name(word: str) -> str:
    """A thing's name in the singular, as the same things are counted in both numbers."""
    return word.removesuffix("s") if len(word) > 3 and not word.endswith(("ss", "is", "us")) else word


def is_thing(words: list[str], single: bool) -> bool:
    """Whether words name things that are counted; `single` also takes a singular, as behind 1, a fraction or "per"."""
    *before, noun = words
    if len(words) > 3 or not all(word.isascii() and word.isalpha() and len(word) > 2 for word in words):
        return False
    if any((alters(word) and word not in _KINDS) or word.endswith("ly") for word in before) or alters(noun):
        return False
    plural = noun in _IRREGULAR_PLURALS or (len(noun) > 3 and noun.endswith("s") and not noun.endswith(("ss", "us", "is")))
    return plural or (single and not noun.endswith(_SINGULAR_ENDS))
