"""Cleaning and pass rates decide together: one selection a prompt, with cause and reason."""

import json
from pathlib import Path

import pytest

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.prompts import load_source
from pipeline_lib.records import Selection
from pipeline_lib.selection.difficulty import EmptySelectionError, recorded_difficulty
from pipeline_lib.selection.training_prompts import contaminating_sources, overlong_prompts, select_training_prompts
from pipeline_lib.stages.filter import filter_fingerprint
from pipeline_lib.stages.profile import profile_fingerprint
from pipeline_lib.stages.train import train_fingerprint

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ROWS = [
    ("How many primes are below ten?", "4", 0.9),
    ("how many primes are below  ten ?", "4", 0.9),
    ("What is one plus one?", "2", 0.2),
    ("What is two plus two?", "4", 1.0),
    ("What is two plus two?", "5", 1.0),
    ("See the figure below. What is x?", "3", 1.0),
    ("What is nine minus four?", "5", 1.0),
    ("What is six plus one?", "", 1.0),
    ("What is six plus two?", "8", None),
    ("What is eight plus two?", "10", 0.75),
]


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    rows = [{"id": f"p{n}", "problem": text, "answer": answer, "rate": rate} for n, (text, answer, rate) in enumerate(ROWS)]
    write(tmp_path / "train.jsonl", rows)
    write(tmp_path / "bench.jsonl", [{"problem": "What is NINE minus four", "answer": "5"}])
    source = {"name": "own", "kind": "file", "path": str(tmp_path / "train.jsonl"), "id_field": "id", "pass_rate_field": "rate"}
    bench = {"name": "bench", "kind": "file", "path": str(tmp_path / "bench.jsonl")}
    overrides = [f"prompts={toml(source)}", f"evaluate.benchmarks=[{toml(bench)}]", "profile.origin=recorded"]
    return load_config(CONFIGS / "smoke.toml", overrides)


def toml(table: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + "}"


def select(config: RunConfig) -> dict[str, Selection]:
    content = load_source(config.prompts)
    estimates = recorded_difficulty("run", content.pass_rates, config.prompts.pass_rate_tries)
    too_long = overlong_prompts(config, config.base_model, list(content.prompts.values()))
    selections = select_training_prompts(config, "run", content, estimates, too_long)
    assert len({selection.prompt_id for selection in selections}) == len(selections)
    return {selection.prompt_id: selection for selection in selections}


def test_every_row_gets_one_selection_with_its_cause(config: RunConfig) -> None:
    roomy = config.model_copy(update={"generation": config.generation.model_copy(update={"max_prompt_tokens": 2048})})
    selections = select(roomy)
    assert {prompt_id: (found.selected, found.cause, found.subset) for prompt_id, found in sorted(selections.items())} == {
        "p0": (True, "pass_rate", "easy"),
        "p1": (False, "normalised_duplicate", "easy"),
        "p2": (False, "pass_rate", "hard"),
        "p3": (False, "conflicting_answers", "easy"),
        "p4": (False, "conflicting_answers", "easy"),
        "p5": (False, "needs_picture", "easy"),
        "p6": (False, "benchmark_text", "easy"),
        "p7-without-answer-1": (False, "empty_answer", "all"),
        "p8": (False, "no_pass_rate", "all"),
        "p9": (True, "pass_rate", "easy"),
    }
    assert "bench" in selections["p6"].reason and "p0" in selections["p1"].reason


def test_all_means_also_prompts_without_a_recorded_rate_and_none_is_an_error(config: RunConfig) -> None:
    roomy = {"generation": config.generation.model_copy(update={"max_prompt_tokens": 2048})}
    everything = config.model_copy(update={**roomy, "filter": config.filter.model_copy(update={"subset": "all"})})
    kept = [prompt_id for prompt_id, found in select(everything).items() if found.selected]
    assert sorted(kept) == ["p0", "p2", "p8", "p9"]
    uncleaned = everything.filter.model_copy(
        update={"cleaning": everything.filter.cleaning.model_copy(update={"enabled": False})}
    )
    kept = [
        prompt_id
        for prompt_id, found in select(config.model_copy(update={**roomy, "filter": uncleaned})).items()
        if found.selected
    ]
    assert sorted(kept) == [f"p{n}" for n in (0, 1, 2, 3, 4, 5, 6, 8, 9)]
    band = everything.filter.model_copy(update={"subset": "band", "min_pass_rate": 0.1, "max_pass_rate": 0.15})
    with pytest.raises(EmptySelectionError, match="selects none"):
        select(config.model_copy(update={**roomy, "filter": band}))


def test_a_prompt_that_the_model_has_no_room_for_is_left_out(config: RunConfig) -> None:
    from pipeline_lib.tiny_world import BASE_FOLDER

    content = load_source(config.prompts)
    tight = config.model_copy(update={"generation": config.generation.model_copy(update={"max_prompt_tokens": 30})})
    too_long = overlong_prompts(tight, str(BASE_FOLDER), list(content.prompts.values()))
    assert "p0" in too_long and "p2" not in too_long


def test_rows_without_answer_or_problem_take_nothing_else_with_them(tmp_path: Path, config: RunConfig) -> None:
    rows = [{"problem": "What is 2+2?", "answer": "4", "rate": 1.0}, {"problem": "What is 2+2?", "answer": "", "rate": 1.0}]
    write(
        tmp_path / "few.jsonl",
        [*rows, {"problem": "", "answer": "1", "rate": 1.0}, {"problem": "", "answer": "2", "rate": 1.0}],
    )
    source = config.prompts.model_copy(update={"path": str(tmp_path / "few.jsonl"), "id_field": None})
    roomy = config.generation.model_copy(update={"max_prompt_tokens": 2048})
    found = select(config.model_copy(update={"prompts": source, "generation": roomy}))
    assert sorted((each.cause, each.selected) for each in found.values()) == [
        ("empty_answer", False),
        ("empty_problem", False),
        ("empty_problem", False),
        ("pass_rate", True),
    ]


def test_validation_prompts_drawn_from_the_training_data_take_only_themselves(config: RunConfig) -> None:
    drawn = config.prompts.model_copy(update={"name": "held-out", "num_prompts": 1, "seed": 5})
    assert config.validation is not None
    roomy = config.generation.model_copy(update={"max_prompt_tokens": 2048})
    held_out = config.model_copy(
        update={"validation": config.validation.model_copy(update={"source": drawn}), "generation": roomy}
    )
    causes = [each.cause for each in select(held_out).values()]
    assert 1 <= causes.count("benchmark_text") <= 3


def test_generated_prompts_are_not_compared_with_anything() -> None:
    assert contaminating_sources(load_config(CONFIGS / "demo.toml")) == []
    paper = load_config(CONFIGS / "qwen3-0.6b.toml")
    assert [source.name for source in contaminating_sources(paper)][-2:] == ["livecodebench", "aime24"]


def test_one_more_benchmark_filters_anew_but_trains_anew_only_if_prompts_go(config: RunConfig) -> None:
    fewer = config.model_copy(
        update={
            "filter": config.filter.model_copy(
                update={"cleaning": config.filter.cleaning.model_copy(update={"decontaminate": False})}
            )
        }
    )
    assert profile_fingerprint(config, "base") == profile_fingerprint(fewer, "base")
    assert filter_fingerprint(config, "base") != filter_fingerprint(fewer, "base")
    assert train_fingerprint(config, "base", "same") == train_fingerprint(fewer, "base", "same")
    assert train_fingerprint(config, "base", "same") != train_fingerprint(config, "base", "other")
