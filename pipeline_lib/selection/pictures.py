"""Finds problems that refer to a picture which their text does not hold.

A model that reads text cannot see an image link or "the figure below". Asymptote and TikZ code are text: they name the points,
coordinates and labels, and DeepScaleR and MATH-500 both keep such problems, so a problem with that code has its picture.
"""

import re

_IMAGE_LINK = re.compile(
    r"!\[[^\]\n]*\]\(|<img\b|\\includegraphics\b|\[img\b[^\]]*\]|https?://\S+\.(?:png|jpe?g|gif|svg)\b", re.IGNORECASE
)
_DRAWING_CODE = re.compile(r"\[asy\]|```asy|\\begin\{(?:asy|tikzpicture|picture)\}", re.IGNORECASE)
_TABLE = r"\\begin\{(?:tabular|array|[bpv]?matrix|aligned?\*?)\}"
# A table or a display is what "as shown" may point at.
_SHOWN_IN_TEXT = re.compile(rf"{_TABLE}|^\s*\|.*\|\s*$", re.IGNORECASE | re.MULTILINE)

_FIGURE = r"(?:figures?|diagrams?|illustrations?|drawings?|sketch|pictures?)"
_ANY_FIGURE = r"(?:figures?|diagrams?|illustrations?|drawings?|sketch|pictures?|images?|graphs?|charts?|maps?|spinners?)"
_SHAPE = (
    r"(?:circles?|polygon|(?:tri|rect|pent|hex|oct)(?:angles?|agons?)|squares?|trapezoid|parallelogram|quadrilateral|"
    r"radii|paths?|positions|arrangement|grid|cube|cylinder|cone|solid|dots|board|region|segments?|points|lines|shape|star|wheels?|"
    r"track|block|polyhedron|prism|pyramid|staircase|angle)"
)
_SIDE = r"(?:(?:at|to|on) (?:the )?(?:right|left))"

# "the figure" alone may be one that the problem has just put into words; these point outside the text.
_REFERENCES = [
    rf"\b(?:adjoining|accompanying|attached|adjacent|provided) (?:\w+ )?{_ANY_FIGURE}\b",
    # A prize is drawn "from the drawing".
    rf"(?!from the drawing)\b(?:in|on|from|see|per|at) (?:the|this) "
    rf"(?:(?:following|given|above|below|two|first|second|left|right|bar|circle|pie) )*{_FIGURE}(?! of\b)(?=[\s,.:;)?!]|$)",
    rf"\bof the following {_FIGURE}\b",
    r"\b(?:see|in) (?:figure|fig\.?|diagram) ?\d+\b(?=[\s,.:;)])|\bsee (?:the )?(?:figure|fig\b|diagram|illustration|drawing)",
    rf"\b(?:the|this|these|following) (?:(?:bar|circle|pie|line|following) )?{_ANY_FIGURE} (?:shows?|depicts?|illustrates?)\b",
    rf"\b{_ANY_FIGURE} (?:(?:is|are|as) )?(?:below|above|shown|pictured|{_SIDE}(?= (?:shows?|is|are)\b))(?! (?:that|to be|the)\b)",
    r"如[右左下上]?图|[下右左]图(?:所示|中)|图所示|图中(?:阴影|所示)",
]
_WEAK_REFERENCES = [
    r"\b(?:as|are|is) (?:shown|pictured|illustrated|depicted)(?= (?:below|above|here|at the|to the)\b|[.,;)]|$)",
    rf"\b{_SHAPE} (?:shown|pictured|depicted) (?:below|above|here|{_SIDE})",
    rf"\b{_SHAPE} (?:shown|pictured|depicted)(?=[.,;?)]|$| (?:is|are|has|have|consists?)\b)",
    r"\bbelow (?:is|are) (?:shown|pictured|depicted)\b|\b(?:shown|pictured|depicted) below (?:is|are)\b",
]
# What follows at once as a table is in the text, whatever the problem calls it.
_REFERENCE = re.compile(rf"(?:{'|'.join(_REFERENCES)})(?!.{{0,30}}{_TABLE})", re.IGNORECASE)
_WEAK_REFERENCE = re.compile("|".join(_WEAK_REFERENCES), re.IGNORECASE)


def find_missing_picture(problem: str) -> str | None:
    """The words or the link by which a problem points at a picture it does not hold; None when it needs none.

    An image link always counts. Words count when there is no drawing code, and those that may as well point at a table ("as
    shown") only when there is no table, matrix or aligned display either.
    """
    if (link := _IMAGE_LINK.search(problem)) is not None:
        return link.group()
    if _DRAWING_CODE.search(problem):
        return None
    text = " ".join(problem.split())
    reference = _REFERENCE.search(text)
    if reference is None and not _SHOWN_IN_TEXT.search(problem):
        reference = _WEAK_REFERENCE.search(text)
    return None if reference is None else reference.group()
