"""The gap between engine and trainer over a step's tokens: its statistics, what stops a run, and what makes the watch warn."""

import numpy as np
import pytest
import torch

from pipeline_lib.config import GenerationConfig, WatchConfig
from pipeline_lib.generation.parity import ParityError, require_small_divergence
from pipeline_lib.training.batches import PaddedBatch
from pipeline_lib.training.engine_gap import EngineGap, gap_sums
from pipeline_lib.training.watch import DynamicsWatch

TOLERANCE = GenerationConfig().kl_tolerance


def measured(differences: torch.Tensor, rows_of_a_batch: int = 1000) -> EngineGap:
    """The statistics of trainer minus engine log-probs, one rollout a row, summed over micro-batches."""
    total = torch.zeros(())
    for part in differences.split(rows_of_a_batch):
        engine = torch.full_like(part, -1.0)
        mask = torch.ones_like(part, dtype=torch.bool)
        signal = torch.ones(len(part), dtype=torch.bool)
        batch = PaddedBatch(torch.zeros_like(part).long(), mask, engine, torch.ones(len(part)), signal, ("",) * len(part))
        total = total + gap_sums(engine + part, batch)
    return EngineGap.of(total)


def noise(sd: float, seed: int = 0, num_tokens: int = 10**6) -> torch.Tensor:
    return sd * torch.randn(num_tokens // 1000, 1000, generator=torch.Generator().manual_seed(seed))


def test_the_statistics_are_those_of_all_tokens_whatever_the_micro_batches() -> None:
    differences = noise(0.3, num_tokens=10**5)
    gap, d = measured(differences, 7), differences.double().numpy().ravel()
    assert gap.mean == pytest.approx(np.abs(d).mean(), rel=1e-5)
    assert gap.k3 == pytest.approx((np.expm1(d) - d).mean(), rel=1e-5)
    assert gap.p999 == pytest.approx(np.quantile(np.abs(d), 0.999), rel=0.025)
    assert gap.outside_fraction == pytest.approx((np.abs(d) > np.log(2)).mean(), abs=1e-9)


def test_fillers_and_prompts_do_not_count() -> None:
    engine = torch.full((2, 4), -1.0)
    mask = torch.tensor([[False, True, True, False], [False, True, True, True]])
    batch = PaddedBatch(torch.zeros(2, 4).long(), mask, engine, torch.ones(2), torch.tensor([True, False]), ("", ""))
    trainer = engine + torch.tensor([[9.0, 0.1, -0.1, 9.0], [9.0] * 4])
    assert EngineGap.of(gap_sums(trainer, batch)).mean == pytest.approx(0.1, rel=1e-5)
    none = PaddedBatch(torch.zeros(2, 4).long(), mask, engine, torch.ones(2), torch.tensor([False, False]), ("", ""))
    assert EngineGap.of(gap_sums(trainer, none)) == EngineGap()
    require_small_divergence(EngineGap().k3, TOLERANCE, "step 1")


def test_bfloat16_s_noise_with_an_outlier_does_not_stop_a_run() -> None:
    differences = noise(0.05)
    differences[500, 500] = 0.7
    gap = measured(differences)
    assert gap.k3 == pytest.approx(0.05**2 / 2, rel=0.02)
    require_small_divergence(gap.k3, TOLERANCE, "step 1")


def test_wrong_weights_and_numbers_that_are_none_stop_it() -> None:
    with pytest.raises(ParityError, match=r"in step 4: mean k3 .* is 0\.\d+, more than generation.kl_tolerance = 0.05"):
        require_small_divergence(measured(noise(0.4)).k3, TOLERANCE, "in step 4")
    broken = noise(0.05)
    broken[3, 3] = float("nan")
    with pytest.raises(ParityError):
        require_small_divergence(measured(broken).k3, TOLERANCE, "in step 4")


def alarms(levels: list[float]) -> list[tuple[str, int]]:
    watch = DynamicsWatch(WatchConfig(window_steps=3, hold_steps=2), "run")
    rows = [{"step": step, "logprob_gap_k3": level} for step, level in enumerate(levels, start=1)]
    return [(alarm.kind, alarm.step) for alarm in watch.history(rows)]


def test_a_doubled_k3_warns_and_its_noise_does_not() -> None:
    """k3 grows with the square of the noise: 0.05 nats of standard deviation, and 0.0707 from step 21 on."""
    calm = [measured(noise(0.05, seed, 10**4)).k3 or 0.0 for seed in range(20)]
    doubled = [measured(noise(0.05 * 2**0.5, 100 + seed, 10**4)).k3 or 0.0 for seed in range(10)]
    assert alarms(calm) == []
    assert alarms(calm + doubled) == [("engine_gap", 23)]  # medians of three are high from step 22 on


def test_growth_of_float32_s_rounding_is_no_drift() -> None:
    assert alarms([1e-12] * 10 + [1e-9] * 10) == []
    assert alarms([0.0] * 10 + [2e-4] * 10) == [("engine_gap", 13)]
