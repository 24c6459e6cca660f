"""What a run has spent: tokens of an endpoint, or hours of GPUs, and what they cost by the configured prices."""

from typing import TYPE_CHECKING

from pipeline_lib.config.prices import HOUR_SECONDS
from pipeline_lib.fleet.placement import num_processes
from pipeline_lib.runs.run import Run

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store


def spent_words(store: "Store", run: Run) -> str | None:
    """One line, for readers; None where nothing was asked of an endpoint, and a GPU's hour has no price."""
    rows, prices = store.named("endpoint_usage_of_run", run_id=run.run_id), run.config.prices
    if rows:
        requests, retries, given, made = (
            sum(row[key] for row in rows) for key in ("requests", "retries", "input_tokens", "output_tokens")
        )
        costs = {row["currency"]: 0.0 for row in rows if row["cost"] is not None}
        for row in rows:
            if row["cost"] is not None:
                costs[row["currency"]] += row["cost"]
        money = "".join(f", {cost:,.2f} {currency}" for currency, cost in costs.items())
        return f"{requests:,} requests ({retries:,} sent again), {given:,} prompt tokens, {made:,} response tokens{money}"
    stages = store.named("stage_durations", run_id=run.run_id)
    seconds = num_processes(run.config) * sum(row["seconds"] for row in stages if not row["reused_from"])
    cost = prices.of_gpu_seconds(seconds)
    return None if cost is None else f"{seconds / HOUR_SECONDS:,.2f} GPU hours, {cost:,.2f} {prices.currency}"
