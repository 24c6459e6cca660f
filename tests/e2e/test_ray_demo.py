"""The demo, in fewer steps, with its engines and its trainer in a Ray cluster that the command starts and ends."""

from pathlib import Path
from typing import Any

import pytest
from driving import laconic, processes_of, sql

pytest.importorskip("ray")

FEWER = [
    *(
        "train.steps=8",
        "checkpoint.every_steps=4",
        "evaluate.benchmarks.0.num_prompts=60",
        "evaluate.benchmarks.1.num_prompts=60",
    ),
    *("prompts.num_prompts=140", "tracking.enabled=false"),
]


def table_of(home: Path, *overrides: str) -> list[dict[str, Any]]:
    """What the report shows of the demo and its control, as in README."""
    laconic(home, "run", "configs/demo.toml", *[word for each in (*FEWER, *overrides) for word in ("--set", each)])
    return sql(
        home,
        """select name, benchmark, budgets.step, budget_tokens, mean_at_k, pass_at_k, mean_tokens
           from budget_results as budgets join runs using (run_id) order by all""",
    )


@pytest.mark.slow
def test_the_demo_on_ray_gives_the_table_of_the_embedded_demo(tmp_path: Path) -> None:
    embedded = table_of(tmp_path / "embedded")
    assert {(row["name"], row["step"]) for row in embedded} >= {("demo", 0), ("demo", 8), ("demo-control", 8)}
    assert table_of(tmp_path / "ray", "fleet.kind=ray", "fleet.generators=2") == embedded
    assert processes_of(tmp_path / "ray") == []
