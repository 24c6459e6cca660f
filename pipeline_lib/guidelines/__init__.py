"""The paper's guidelines, and what peers learned the hard way, as rules to hold a configuration against before it costs anything.

Every rule gives the finding it rests on and a reason; docs/guidelines.md lists them all. An error means that the paper saw training
fail this way, or that the run cannot show what it is for; a warning, that better is known; a note, that something should be borne in
mind when the results are read. A new rule is one function in a `*_rules.py` module.
"""

from pipeline_lib.files.markdown import table
from pipeline_lib.guidelines import (
    grader_rules,
    judgement_rules,
    length_rules,
    machine_rules,
    mask_rules,
    optimisation_rules,
    prompt_rules,
    served_rules,
)
from pipeline_lib.guidelines.plan import PlannedRun
from pipeline_lib.guidelines.rule import SEVERITIES, Remark, Rule

MODULES = (
    prompt_rules, grader_rules, length_rules, mask_rules, optimisation_rules, judgement_rules, machine_rules, served_rules,
)  # fmt: skip
RULES = tuple(rule for module in MODULES for rule in vars(module).values() if isinstance(rule, Rule))
# Of a model that is served elsewhere nothing is trained.
RULES_OF_SERVED = (
    *(rule for module in (served_rules, grader_rules) for rule in vars(module).values() if isinstance(rule, Rule)),
    judgement_rules.few_samples,
    prompt_rules.few_profile_rollouts,
    prompt_rules.no_boxed_request,
)


def check_run(plan: PlannedRun) -> list[Remark]:
    """What the rules have to say about a run, the most serious first."""
    advice = [(rule, rule.examine(plan)) for rule in (RULES_OF_SERVED if plan.config.is_served else RULES)]
    remarks = [Remark(rule, said) for rule, said in advice if said is not None]
    return sorted(remarks, key=lambda remark: SEVERITIES.index(remark.advice.severity))


def render_rules() -> str:
    """The rules as a Markdown table (docs/guidelines.md), a row per rule, in the order of the registry."""
    rows = [(f"`{rule.id}`", ", ".join(rule.severities), rule.basis, rule.fires, rule.why) for rule in RULES]
    return table(["rule", "severity", "rests on", "fires when", "why"], rows)
