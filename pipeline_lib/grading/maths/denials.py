"""Which words around a number, formula or letter of a text deny, compare, hedge or alter it, so that it is not stated as the answer.

English has most of them; of the other languages in which an answer is announced, what denies, compares and joins.
"""

import re

# How far before a candidate its denial may stand.
REACH = 80

# Up to some words before it, unless a conclusion stands between.
_FAR = r"""
    (?:\b(?:not|never|cannot|nicht|kein\w*|non|não|не|unlikely)\b|n['’]t\b|\bn['’]est\s+pas\b|\bno\s+(?=es\b|son\b|puede)|不(?!等式))
    (?:(?!\b(?:so|then|therefore|thus|hence|but|sondern|mais|sino|mas|ma|а)\b)[^.,;:!?=\n，。；]){0,60}
    | \b(?:if|doubt|whether|wrong\s+answer|incorrect\s+answer|of\s+the\s+answer)\b[^.,;!?=\n]{0,40}
"""
# Right before it: comparisons and hedges, what makes another value of it, and what numbers a problem or a step.
_NEAR = r"""
    \b(?:at\s+(?:least|most)|than|about|around|approximately|roughly|nearly|almost|over|under|above|below|up\s+to|between|either
    |neither|nor|negative|minus|exceed(?:s|ing)?|instead\s+of|between\s+\S+\s+and|(?:could|might|may)\s+be|possibly|perhaps|except
    |(?:every|any)thing\s+but|far\s+from|close\s+to|near|(?:differs?|different)\s+from|guess(?:\s+is)?|answer\s+has
    |half\s+of|twice|thrice|\d\s+times|mod(?:ulo)?|divisible\s+by|(?:multiplied|divided)\s+by
    |(?:multiple|divisor|factor|root|square|cube|reciprocal|inverse|negative|opposite|absolute\s+value|logarithm)s?\s+of
    |(?:problem|question|exercise|equation|step|figure|table|chapter|section|page)s?
    |mindestens|höchstens|etwa|ungefähr|(?:weniger|mehr|größer|kleiner)\s+als|au\s+(?:moins|plus)|environ|(?:moins|plus)\s+(?:de|que)
    |al\s+menos|como\s+(?:máximo|mínimo)|aproximadamente|(?:menos|más|mais)\s+de|(?:pelo\s+menos|no\s+máximo)|almeno|al\s+massimo|circa
    |(?:più|meno)\s+di|не\s+(?:менее|более)|примерно|около|больше|меньше)\b[\s{}()$\\:]*
    | (?:至少|至多|最多|大约|大于|小于|超过|不到|約|约|少なくとも|およそ)\s*(?:是|为)?[\s{}()$\\]*
    | (?-i:\b[A-HJ])\)?\s+(?:or|and)\s+
"""
# What half of it is, it is not.
_OF_ANOTHER = r"""
    \b(?:half|twice|thrice|double|triple|opposite|negative|reciprocal|inverse|square\s+of|squared|cubed|doubled|tripled|halved
    |bounds?|complement|wrong|incorrect|plus|minus|than)\b[^.,;!?=\n\d]{0,40}(?:\bis|\bare|\bequals|:)[\s{}()$\\]*
    | \banswer\s+(?:plus|minus|times|divided\s+by)\b[^.,;!?=\n]{0,40}
"""
BEFORE = re.compile(f"(?:{_FAR}|{_NEAR}|{_OF_ANOTHER})$", re.IGNORECASE | re.VERBOSE)
BEHIND = re.compile(
    r"""[\s{}()$\\]*(?:\\?text\s*\{\s*)?(?:
    (?:or|and)\s+(?:more|less|fewer|greater|smaller|higher|lower|above|below|over|under|up|so)\b
    |at\s+(?:least|most)\b|(?:(?:is|are|was|were|can|could|does|do|would)\s*)?(?:not\b|never\b|n['’]t\b)
    |is\s+(?:a\s+guess|(?:larger|bigger|greater|smaller|less|more)\s+than)\b
    |(?:,?\s*but\s+(?:that|this|it)\s+)?(?:is|was)\s+(?:wrong|incorrect|false)\b|(?:wrong|incorrect|false)\b
    |(?:or|and|&)\s+(?:maybe\s+|perhaps\s+|possibly\s+)?\(?(?-i:[A-HJ]\b)|\?|,\s*no\b|,?\s*or\s+(?:is|was|maybe|perhaps)\b
    |plus\s+(?:some|a)|(?:times|plus|minus|to|over|out\s+of|(?:divided|multiplied)\s+by|(?:more|less|fewer|greater)\s+than)\s+\$?-?\d
    |(?:percent\s+)?off\b|factorial\b
    |(?:squared|cubed|doubled|tripled|halved|tens|hundreds?|thousands?|halves|thirds|fourths|fifths|(?:ten|hundred|thousand)ths)\b
    |的(?!答案)|(?:では|じゃ)(?:ない|ありません)|(?:以上|以下|未満))""",
    re.IGNORECASE | re.VERBOSE,
)
# Behind an answer, that another follows.
RETRACTION = re.compile(r"\b(?:wait|actually|correction|oops|sorry|my\s+mistake)\b", re.IGNORECASE)
# Between items of one answer.
JOINT = re.compile(r"\s*(?:,?\s*(?:and|or|und|oder|et|ou|y|e|o|или|и)\s|,\s|;|[、或和]|または)\s*")


def is_denied(text: str, start: int, end: int) -> bool:
    """Whether the text around what stands from `start` to `end` says that it is not the answer, or only near it."""
    return BEFORE.search(text, max(0, start - REACH), start) is not None or BEHIND.match(text, end) is not None
