"""Exact match: the two texts are the same but for white space around them."""


def is_exact_match(answer: str, gold: str) -> bool:
    """Whether answer and gold are equal after stripping."""
    return answer.strip() == gold.strip()
