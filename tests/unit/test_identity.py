"""The ids of runs and the fingerprints of stages are those of commit 9021028, where [compute] was part of [train].

By them a home finds the runs, checkpoints and stage results that are in it: an id that changes is a run that is lost. The files
of the paper's models are other runs since they cap the trainer / engine ratio.
"""

from pathlib import Path

import pytest

from pipeline_lib.config import load_config
from pipeline_lib.stages.evaluate import evaluate_fingerprint
from pipeline_lib.stages.filter import filter_fingerprint
from pipeline_lib.stages.profile import profile_fingerprint
from pipeline_lib.stages.train import train_fingerprint

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# Digests of the run, of its control, and of the train stage over a base "base" and a selection "selected".
SHIPPED = {
    "demo": ("34f4c2ab", "092b8a62", "82e3a89c"),
    "qwen3-0.6b": ("5c1d2f1d", "07e3f629", "e70d4a24"),
    "qwen3-1.7b": ("9267bcf7", "6f1328bd", "891eb5c7"),
    "qwen3-30b-a3b-instruct": ("64e396cb", "dfdf463e", "8ea07d83"),
    "qwen3-30b-a3b-thinking": ("2fa47c13", "1c3f294d", "e84e9518"),
    "qwen3-4b-instruct": ("0ada1101", "b67248d6", "9cf3e4fb"),
    "qwen3-4b-thinking": ("bbd62297", "a9fccd9b", "51fc23b0"),
    "qwen3-8b": ("063b6126", "ab23d6a7", "4b728cee"),
    "r1-distill-1.5b": ("70cc4515", "375f1aa3", "c33ec239"),
    "retrain-tiny": ("d6ffed6a", "7b648ab2", "80368829"),
    "smoke": ("19a328b3", "ee29ff06", "1201a6df"),
    "tiny-real": ("c4321911", "398bafc2", "0b727c7d"),
}
EVERY_COMPUTE_KEY = [
    "compute.launcher=deepspeed",
    "compute.num_processes=2",
    "compute.num_threads=3",
    "compute.precision=bfloat16",
    "compute.zero_stage=2",
    "compute.gradient_checkpointing=true",
    "compute.micro_batch_tokens=512",
]
# What the files said then, where they say something else.
AS_THEN = {name: ["compute.zero_stage=1"] for name in ("qwen3-0.6b", "qwen3-1.7b", "r1-distill-1.5b")}


@pytest.fixture(autouse=True)
def _no_local_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LACONIC_DATA", raising=False)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_configuration_is_the_run_that_it_was(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.toml", AS_THEN.get(name, []))
    run, control, train = SHIPPED[name]
    assert config.run_id == f"{name}-{run}"
    assert config.control_variant().run_id == f"{name}-control-{control}"
    assert train_fingerprint(config, "base", "selected")[:8] == train


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("demo", ("f498d05b", "51f49a68", "215c4655")),
        ("smoke", ("7d0023c3", "1ad123d1", "02adc573")),
        ("qwen3-8b", ("641fb932", "c85d2cb9", "2fb9d82f")),
    ],
)
def test_the_stages_before_and_after_training_are_found_again(name: str, expected: tuple[str, str, str]) -> None:
    config = load_config(CONFIGS / f"{name}.toml")
    profile, filtered, evaluate = expected
    assert profile_fingerprint(config, "base")[:8] == profile
    assert filter_fingerprint(config, "base")[:8] == filtered
    assert evaluate_fingerprint(config, "w", config.evaluate.benchmarks[0])[:8] == evaluate


def test_settings_of_the_machine_count_as_they_did() -> None:
    others = ["generation.max_num_seqs=8", "retrain={}", "validation.num_samples=2"]
    config = load_config(CONFIGS / "demo.toml", [*EVERY_COMPUTE_KEY, *others])
    assert config.run_id == "demo-8e4e2cee"
    assert train_fingerprint(config, "base", "selected")[:8] == "4a01a78e"


def test_what_changes_no_result_is_left_out_at_any_depth() -> None:
    config = load_config(CONFIGS / "demo.toml", ["retrain={}"])
    settings, counted = config.model_dump(mode="json"), config.result_settings()
    left_out = {f"{section}.{key}" for section in counted for key in _missing(settings[section], counted[section])}
    assert settings.keys() - counted.keys() == {"tracking", "retrain"}
    assert left_out == {
        "train.lora",
        *(f"compute.{key}" for key in ("launcher", "num_threads", "micro_batch_tokens", "optimizer_offload")),
        *(f"generation.{key}" for key in ("max_num_seqs", "kv_cache_gib", "gpu_memory_utilization", "enforce_eager")),
        *(f"generation.{key}" for key in ("tensor_parallel", "sleep", "kl_tolerance")),
        *(f"watch.{key}" for key in ("engine_gap", "engine_gap_factor")),
        "control.side_by_side",
    }


def test_a_later_setting_counts_where_it_is_given() -> None:
    config, adapted = (load_config(CONFIGS / "demo.toml", keys) for keys in ([], ["train.lora={}"]))
    assert "lora" not in config.result_settings()["train"]
    assert adapted.result_settings()["train"]["lora"]["rank"] == 32
    assert adapted.run_id != config.run_id
    assert train_fingerprint(adapted, "base", "selected") != train_fingerprint(config, "base", "selected")


def _missing(settings: object, counted: object) -> set[str]:
    return settings.keys() - counted.keys() if isinstance(settings, dict) and isinstance(counted, dict) else set()
