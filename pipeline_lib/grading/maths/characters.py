"""Unicode signs in the spelling of LaTeX."""

import re
import unicodedata

_CHARACTERS = {
    "−": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "﹣": "-", "－": "-", "×": r"\times ",
    "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "≤": r"\leq ", "≥": r"\geq ",
    "⩽": r"\leq ", "⩾": r"\geq ", "≠": r"\neq ", "≈": r"\approx ", "≡": r"\equiv ", "∞": r"\infty ", "π": r"\pi ",
    "√": r"\sqrt ", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "±": r"\pm ",
    "∓": r"\mp ", "∅": r"\emptyset ", "′": "'", "’": "'", "″": "''", "“": '"', "”": '"', "º": "°", "∘": "°",
    "℃": r"°\text{C}", "℉": r"°\text{F}", "。": ".", "、": ",", "，": ",", "：": ":", "；": ";", "（": "(", "）": ")", "∶": ":",
    "⟨": "(", "⟩": ")", "〈": "(", "〉": ")", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "…": r"\ldots ", "⋯": r"\ldots ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}", "¢": r"\text{ cents}", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ",
    "θ": r"\theta ", "λ": r"\lambda ", "μ": r"\mu ", "φ": r"\phi ", "ω": r"\omega ", "Ω": r"\Omega ", "σ": r"\sigma ",
    "ε": r"\epsilon ", "→": r"\to ", "⇒": r"\to ", "∴": "", "µ": r"\mu ", "∥": r"\parallel ", "∠": r"\angle ",
    "△": r"\triangle ", "∧": r"\and ", "∨": r"\or ", "∀": r"\forall ", "∣": "|", "‖": r"\|", "⊂": r"\subset ",
    "⊆": r"\subseteq ", "∉": r"\notin ", "∖": r"\setminus ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "ℓ": r"\ell ",
    "Δ": r"\Delta ", "ρ": r"\rho ", "τ": r"\tau ", "η": r"\eta ", "ψ": r"\psi ", "ν": r"\nu ", "ξ": r"\xi ",
    "κ": r"\kappa ", "ζ": r"\zeta ", "χ": r"\chi ", "ϕ": r"\phi ", "ℏ": r"\hbar ", "Σ": r"\Sigma ", "Φ": r"\Phi ",
    "Ψ": r"\Psi ", "Λ": r"\Lambda ", "Γ": r"\Gamma ", "Θ": r"\Theta ", "∂": r"\partial ",
}  # fmt: skip
# Marks that turn the direction of writing: digits behind them are seen in another order.
_TURNING = frozenset("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u061c\u200f")
# Digits above or below the line; as plain digits they would join the number in front: 2¹⁰ is not 210.
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙ]+")


def plain_characters(text: str) -> str:
    """The text in ASCII where signs have a spelling in LaTeX, without control characters."""
    if text.isascii() and text.isprintable():
        return text
    text = _RAISED.sub(lambda match: f"^{{{unicodedata.normalize('NFKC', match[0])}}}", text)
    text = _LOWERED.sub(lambda match: f"_{{{unicodedata.normalize('NFKC', match[0])}}}", text)
    return "".join(_CHARACTERS.get(character) or _plain_character(character) for character in text)


def _plain_character(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else " " if character.isspace() else ""
    if character in _TURNING:
        return character
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return ""
    if category == "Zs":
        return " "
    plain = unicodedata.normalize("NFKC", character)
    numerator, slash, denominator = plain.partition("⁄")
    return rf"\frac{{{numerator}}}{{{denominator}}}" if slash and denominator else plain
