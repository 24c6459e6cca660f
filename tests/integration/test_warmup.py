"""The warm-up from recipe to model folder, very short, and the base that ships with the package."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline_lib.config import WarmupConfig, load_config
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.tiny_world.problems import draw_problems
from pipeline_lib.tiny_world.tokenizer import build_tokenizer
from pipeline_lib.tiny_world.warmup import WarmupResult, build_model, run_warmup, write_folder
from pipeline_lib.tiny_world.warmup_gate import sample_responses, summarise

SHIPPED_CONFIG = Path(__file__).parents[2] / "configs" / "warmup.toml"
SHORT = WarmupConfig(
    train_tokens=20_000,
    warmup_steps=10,
    step_tokens=120,
    max_response_tokens=48,
    max_operations=2,
    hidden_size=32,
    num_layers=1,
    intermediate_size=32,
    num_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    gate_problems=8,
)


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[WarmupResult, list[int]]:
    tokens_seen: list[int] = []
    folder = tmp_path_factory.mktemp("warmup") / "base"
    return run_warmup(SHORT, folder, lambda tokens, _: tokens_seen.append(tokens)), tokens_seen


def test_short_warmup_learns_but_fails_the_gate_with_reasons(short_run: tuple[WarmupResult, list[int]]) -> None:
    result, tokens_seen = short_run
    assert result.training.final_loss < result.training.first_loss - 0.5
    assert result.passed is False
    assert {reason.split(" line")[0].removeprefix("no ") for reason in result.reasons} == {"count", "table"}
    record = json.loads((result.folder / "warmup.json").read_text())
    assert record["recipe"] == SHORT.model_dump(mode="json")
    assert record["gate"]["passed"] is False
    assert record["gate"]["reasons"] == result.reasons
    assert set(record["gate"]["families"]) == {"sum", "wheel"}
    assert tokens_seen[-1] == result.training.num_tokens
    assert [path.name for path in result.folder.parent.iterdir()] == [result.folder.name]


def test_same_seed_same_weights(short_run: tuple[WarmupResult, list[int]], tmp_path: Path) -> None:
    torch.manual_seed(12345)
    again = run_warmup(SHORT, tmp_path / "again")
    first, second = (load_file(folder / "model.safetensors") for folder in (short_run[0].folder, again.folder))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.gate == short_run[0].gate


def test_written_folder_reloads_with_identical_logits(short_run: tuple[WarmupResult, list[int]], tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    model = build_model(SHORT, tokenizer).eval()
    result = WarmupResult(
        tmp_path / "model", short_run[0].passed, short_run[0].reasons, short_run[0].training, short_run[0].gate
    )
    write_folder(model, tokenizer, SHORT, result)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    token_ids = torch.randint(len(tokenizer), (3, 40), generator=torch.Generator().manual_seed(0))
    assert loaded.dtype == torch.float32
    with torch.inference_mode():
        assert torch.equal(loaded(token_ids).logits, model(token_ids).logits)
    assert (loaded.generation_config.eos_token_id, loaded.generation_config.pad_token_id) == (2, 0)


def test_a_folder_that_is_no_warmup_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="exists and was not written by a warm-up"):
        run_warmup(SHORT, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_earlier_warmup_is_replaced(short_run: tuple[WarmupResult, list[int]], tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "warmup.json").write_text("{}")
    (folder / "stale.bin").write_text("old")
    result = WarmupResult(folder, short_run[0].passed, short_run[0].reasons, short_run[0].training, short_run[0].gate)
    tokenizer = build_tokenizer()
    write_folder(build_model(SHORT, tokenizer), tokenizer, SHORT, result)
    assert (folder / "model.safetensors").is_file()
    assert not (folder / "stale.bin").exists()


def test_shipped_base_is_small_and_made_by_the_shipped_recipe() -> None:
    record = json.loads((BASE_FOLDER / "warmup.json").read_text())
    config = load_config(SHIPPED_CONFIG, model=WarmupConfig)
    assert record["recipe"] == config.model_dump(mode="json")
    assert sum(path.stat().st_size for path in BASE_FOLDER.iterdir()) <= 3 * 1024**2
    assert (BASE_FOLDER / "README.md").is_file()


def test_shipped_base_passed_its_gate() -> None:
    record = json.loads((BASE_FOLDER / "warmup.json").read_text())
    config = load_config(SHIPPED_CONFIG, model=WarmupConfig)
    lines = record["gate"]["families"]["sum"]["line_accuracy"]
    assert record["gate"]["passed"] is True
    assert record["gate"]["reasons"] == []
    assert lines["count"] >= config.min_count_line_accuracy
    assert config.min_table_line_accuracy <= lines["table"] <= config.max_table_line_accuracy


def test_shipped_base_still_does_what_its_record_says() -> None:
    record = json.loads((BASE_FOLDER / "warmup.json").read_text())["gate"]["families"]["sum"]
    tokenizer = AutoTokenizer.from_pretrained(BASE_FOLDER)
    model = AutoModelForCausalLM.from_pretrained(BASE_FOLDER).eval()
    problems = [prompt.problem for prompt in draw_problems("sum", "test", 84, seed=0)]
    figures = summarise(sample_responses(model, tokenizer, problems, max_tokens=224, seed=0))
    # Four standard errors of 84 samples about the recorded figures.
    assert figures.accuracy == pytest.approx(record["accuracy"], abs=0.19)
    assert figures.mean_tokens == pytest.approx(record["mean_tokens"], abs=25)
    assert figures.line_accuracy["count"] > 0.95
    assert figures.line_accuracy["table"] == pytest.approx(record["line_accuracy"]["table"], abs=0.18)
