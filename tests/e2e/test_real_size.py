"""A model of a real one's size goes through a training step on two CPU processes, within the memory that the plan gives."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "real_size.py"


@pytest.mark.slow
def test_a_step_of_qwen3_0_6b_takes_the_memory_that_is_planned(tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("real_size", BENCHMARK)
    assert specification and specification.loader
    real_size = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(real_size)
    found = real_size.measure(tmp_path, [])
    assert found["step"]["optimizer_steps"] == 1, found["log"][-3000:]
    assert found["measured_gib"] < 20
    assert found["planned_gib"] == pytest.approx(found["measured_gib"], rel=0.15)
