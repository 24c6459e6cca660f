"""The rules as a Markdown table, from the registry (docs/guidelines.md)."""

from pipeline_lib.files.markdown import table
from pipeline_lib.guidelines import RULES


def render_rules() -> str:
    """A row a rule, in the order of the registry."""
    rows = [(f"`{rule.id}`", ", ".join(rule.severities), rule.basis, rule.fires, rule.why) for rule in RULES]
    return table(["rule", "severity", "rests on", "fires when", "why"], rows)
