"""Which words before a value are its name. Any others may change it (`half of it is 5`, `Upper bound: 5`), so that it is no answer."""

from pipeline_lib.grading.maths.unit_names import alters

_FUNCTION = """
    the a an our its his her their this so hence thus therefore of in to for by from with all on
"""
_LEAD = """
    answer answers solution solutions result value values number numbers sum product difference quotient remainder ratio
    probability chance area volume perimeter length width height depth radius diameter circumference angle distance speed
    velocity time date day month year age cost price amount profit tax revenue salary weight mass temperature force energy
    work density pressure mean median mode average range minimum maximum min max smallest largest least greatest highest
    lowest shortest longest fewest slope vertex center centre focus point points root roots zero zeros domain equation
    line function expression limit derivative integral coefficient term terms digit digits option choice letter parity
    color colour side sides set interval matrix vector determinant rank trace magnitude argument count percentage percent
    variance deviation expectation rate final correct required requested desired total overall resulting exact simplified
    possible standard expected common unique integer integers
"""
_ALTER = """
    squared cubed doubled tripled halved bound bounds sqrt cbrt greater lesser approximate estimate estimated guess wrong
    incorrect false opposite everything anything nothing something increase decrease change error margin upper lower
"""
_FUNCTION_WORDS, _LEADS, _ALTERING = (frozenset(words.split()) for words in (_FUNCTION, _LEAD, _ALTER))


def is_lead(words: list[str]) -> bool:
    """Whether words before a colon or "is" name what follows: listed ones, with any that alter nothing behind "of"."""
    head, _, rest = " ".join(words).lower().partition(" of ")
    named = [word for word in head.split() if word not in _FUNCTION_WORDS]
    # The number of digits of the answer is not the answer.
    behind = rest.split()
    return (
        bool(named)
        and all(word in _LEADS for word in named)
        and not any(changes(word) or word in ("answer", "answers") for word in behind)
    )


def is_name(name: str) -> bool:
    """Whether what stands before an equals sign names the value: a symbol, a word that alters nothing, or a lead."""
    words = [word for word in name.split() if word not in _FUNCTION_WORDS] if name.replace(" ", "").isalpha() else []
    return is_lead(words) if len(words) > 1 else not words or len(words[0]) == 1 or not changes(words[0])


def changes(word: str) -> bool:
    return word not in _FUNCTION_WORDS and word not in _LEADS and (alters(word) or word in _ALTERING)
