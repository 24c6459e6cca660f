"""A decision about the champion as a page: what was decided, why, and the table it was decided by."""

from collections.abc import Sequence

from pipeline_lib.messages.harmless import markdown_code, markdown_text
from pipeline_lib.records import Promotion, PromotionBudget

VERDICTS = {"promoted": "promoted", "kept": "the champion is kept", "rolled_back": "rolled back"}


def decision_page(decision: Promotion, budgets: Sequence[PromotionBudget]) -> str:
    """Markdown: a headline, the reason, the versions, the tokens, a row per benchmark and budget."""
    title = f"# {markdown_text(decision.model_name)}: {VERDICTS[decision.decision]}"
    lines = [title, "", markdown_text(decision.reason), "", _versions(decision), ""]
    if decision.token_difference is not None:
        assert decision.token_ci_low is not None and decision.token_ci_high is not None
        assert decision.accuracy_margin is not None and decision.confidence is not None
        lines += [
            f"Mean tokens, challenger minus champion: **{decision.token_difference:+.1f}** "
            f"[{decision.token_ci_low:+.1f}, {decision.token_ci_high:+.1f}]. "
            f"{decision.num_prompts} held-out prompts; {100 * decision.confidence:g} % intervals by a paired bootstrap over them.",
            "",
            "| benchmark | budget | champion | challenger | difference (points) | interval | "
            f"loss of {100 * decision.accuracy_margin:g} ruled out |",
            "|---|---|---|---|---|---|---|",
        ]
    return "\n".join([*lines, *map(_row, budgets)]).rstrip() + "\n"


def _row(each: PromotionBudget) -> str:
    return (
        f"| {markdown_text(each.benchmark)} | {each.budget_tokens} | "
        f"{100 * each.champion_accuracy:.1f} | {100 * each.challenger_accuracy:.1f} | {100 * each.difference:+.1f} | "
        f"{100 * each.ci_low:+.1f} to {100 * each.ci_high:+.1f} | {'yes' if each.passed else '**no**'} |"
    )


def _versions(decision: Promotion) -> str:
    def named(version: int | None) -> str:
        return "none" if version is None else f"version {version}"

    parts = [f"Champion before: {named(decision.champion_version)}; after: {named(decision.champion_after)}"]
    parts.append(f"previous: {named(decision.previous_after)}")
    if decision.challenger_version is not None:
        parts.append(f"challenger: {named(decision.challenger_version)}")
    if decision.run_id is not None:
        run, base = markdown_code(decision.run_id), markdown_code(str(decision.base_model))
        parts.append(f"run {run} (step {decision.challenger_step}), trained from {base}")
    return "; ".join(parts) + "."
