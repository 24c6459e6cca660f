"""Why the grader keeps its verdict where the label of a public grading case says otherwise, by the id of the case."""

_NOT_SIMPLIFIED = "equal; the human rater turned down a form that is not simplified, or rated the step rather than its answer"
_UNEQUAL = "not equal; the human rater accepted a wrong answer or rated the step rather than its answer"

REASONS = {
    "gr-5278b1abc501": "equal; the label turns down the decimal, while others of the same source accept it",
    "gr-5a59c18f43ba": "equal (±, i√5 for √5 i); the label is at odds with gr-b05fdb27cafb, which accepts the same numbers",
    "gr-7ab3e636ecce": "equal (±, i√5 for √5 i); the label is at odds with gr-b05fdb27cafb, which accepts the same numbers",
    "gr-451b3a9a7f14": "equal; √-1 is i, which gr-849a55a6e193 accepts with the same gold answer",
    "gr-5afc98bfcbfd": _NOT_SIMPLIFIED,
    "gr-883284ea6579": _NOT_SIMPLIFIED,
    "gr-6980c61ba756": _NOT_SIMPLIFIED,
    "gr-ea2cb2ca9b0b": _NOT_SIMPLIFIED,
    "gr-e05551531c0d": _NOT_SIMPLIFIED,
    "gr-f6d519063ad4": _NOT_SIMPLIFIED,
    "gr-6b2e46046286": "equal; 4/3 is accepted for a fraction elsewhere in the same source",
    "gr-91d04efac286": "the same plane; the problem wants a positive leading coefficient, which gold and answer alone do not tell",
    "gr-a50e301e6499": "a pair without its parentheses, accepted for a triple in gr-6d609af5dc6d",
    "gr-36b95bc675c7": _UNEQUAL,
    "gr-9edc09bb4202": _UNEQUAL,
    "gr-fd3556647025": _UNEQUAL,
    "gr-35b6bcebef52": _UNEQUAL,
    "gr-ebe5043c105e": "0.33 for 1/3: the library's test asks for two decimals; we accept a rounding from four digits on",
    "gr-d4729fbf9572": r"\beginboxed is no box and no command of LaTeX",
    "gr-3b037c2c8b22": "75 for 0.75 without a percent sign: the source's policy, which would accept wrong answers elsewhere",
    "gr-722ef65be9be": "2 for 2.0001: the source's tolerance of 1e-4, relative; ours is 1e-8",
}
