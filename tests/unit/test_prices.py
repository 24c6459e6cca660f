"""Prices: what tokens or GPU seconds cost, and that neither a run nor an evaluation of a file becomes another by them."""

from pathlib import Path

import pytest

from pipeline_lib.config import PricesConfig, load_config, recorded_config

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "smoke.toml"


def test_tokens_and_hours_become_money() -> None:
    by_token = PricesConfig(input_per_million_tokens=0.5, output_per_million_tokens=2.0)
    assert by_token.of_tokens(2_000_000, 500_000) == 2.0
    assert by_token.of_gpu_seconds(3600) is None
    assert PricesConfig(output_per_million_tokens=2.0).of_tokens(2_000_000, 500_000) == 1.0
    by_hour = PricesConfig(per_gpu_hour=3.0)
    assert by_hour.of_gpu_seconds(2 * 1800) == 3.0
    assert by_hour.of_tokens(1, 1) is None
    assert PricesConfig().of_tokens(1, 1) is None


def test_prices_change_no_run() -> None:
    priced = load_config(CONFIG, ["prices.per_gpu_hour=2.5", "prices.currency=EUR"])
    assert priced.run_id == load_config(CONFIG).run_id
    with pytest.raises(ValueError, match="per_gpu_hour and a price of tokens"):
        load_config(CONFIG, ["prices.per_gpu_hour=2.5", "prices.output_per_million_tokens=1"])
    recorded = recorded_config("rollouts.parquet", None, ["prices.output_per_million_tokens=1"])
    assert recorded.run_id("digest") == recorded_config("rollouts.parquet").run_id("digest") == "rollouts-7dd0edf7"
