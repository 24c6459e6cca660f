"""The rules as a Markdown table, from the registry (docs/guidelines.md)."""

from pipeline_lib.guidelines import RULES, Rule


def render_rules() -> str:
    """A row a rule, in the order of the registry."""
    header = ["| rule | severity | rests on | fires when | why |", "|---|---|---|---|---|"]
    return "\n".join([*header, *(_row(rule) for rule in RULES)])


def _row(rule: Rule) -> str:
    cells = (f"`{rule.id}`", ", ".join(rule.severities), rule.basis, rule.fires, rule.why)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
