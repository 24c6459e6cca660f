"""`laconic prompts`: what is asked, how long it is, what is left out, and example turns that come from a benchmark."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipeline_lib.tiny_world import BASE_FOLDER

SMOKE = str(Path(__file__).resolve().parents[2] / "configs" / "smoke.toml")
ROWS = [
    ("What is one plus one?", "2"),
    ("What is one  plus one ?", "2"),
    ("See the figure below. What is x?", "2"),
    ("What is nine minus four?", "5"),
    ("What is \x1b[31mfive minus four" + " and four" * 9 + "?", "1"),
]


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    def write(name: str, rows: list[dict[str, str]]) -> Path:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    train = write("train.jsonl", [{"problem": problem, "answer": answer} for problem, answer in ROWS])
    bench = write("bench.jsonl", [{"problem": "What is NINE minus four?", "answer": "5"}])
    write("clean.jsonl", [{"problem": "What is ten plus one?", "response": "11"}])
    write("taken.jsonl", [{"problem": "What is nine minus four?", "response": "5"}])
    settings = [
        f'prompts={{name="own", kind="file", path="{train}"}}',
        f'evaluate.benchmarks.0={{name="bench", kind="file", path="{bench}", system_prompt=""}}',
        "system_prompt=Be brief.",
        "generation.max_prompt_tokens=100",
        f"examples={tmp_path}/clean.jsonl",
    ]
    return [word for setting in settings for word in ("--set", setting)]


def test_rendered_prompts_lengths_and_what_is_left_out_are_shown(overrides: list[str]) -> None:
    result = CliRunner().invoke(app, ["prompts", SMOKE, "-n", "1", *overrides])
    assert result.exit_code == 0, result.output
    assert (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is ten plus one?<|im_end|>\n"
        "<|im_start|>assistant\n11<|im_end|>\n<|im_start|>user\nWhat is one plus one?<|im_end|>\n<|im_start|>assistant⏎\n"
    ) in result.output
    assert "normalised_duplicate" in result.output and "same text as" in result.output
    assert "those are left out" in result.output and "refused" not in result.output
    assert CliRunner().invoke(app, ["prompts", SMOKE, "--source", "benhc", *overrides]).exception


def test_as_json_everything_is_told_of_every_source(overrides: list[str]) -> None:
    result = CliRunner().invoke(app, ["prompts", SMOKE, "-n", "9", "--format", "json", *overrides])
    training, validation, benchmark = json.loads(result.output)
    assert {cause: rows["num_prompts"] for cause, rows in training["left_out"].items()} == {
        "normalised_duplicate": 1, "needs_picture": 1, "benchmark_text": 1,
    }  # fmt: skip
    assert (training["num_prompts"], training["num_too_long"], len(training["shown"])) == (2, 1, 2)
    assert training["lengths"]["longest"] == max(prompt["num_tokens"] for prompt in training["shown"]) > 100
    assert "\x1b" not in result.output
    assert validation["num_prompts"] == 32 and "Be brief." in validation["shown"][0]["text"]
    assert benchmark["shown"][0]["answer"] == "5" and "Be brief." not in benchmark["shown"][0]["text"]


def test_a_served_model_is_shown_its_turns_and_counted_where_a_tokenizer_is_named(overrides: list[str], tmp_path: Path) -> None:
    served = ["--set", "generation.engine=openai", "--set", 'generation.endpoint={base_url="http://127.0.0.1:1/v1"}']
    overrides = [*overrides, *served, "--set", "base_model=any/name"]
    result = CliRunner().invoke(app, ["prompts", SMOKE, "-n", "1", *overrides])
    assert (
        "the turns, which the endpoint renders · answer 2\n[system]\nBe brief.\n[user]\nWhat is ten plus one?" in result.output
    )
    assert "normalised_duplicate" in result.output
    counted = ["--set", f"generation.endpoint.tokenizer={BASE_FOLDER}", "--format", "json"]
    for more, longest in ((["--format", "json"], False), (counted, True)):
        training = json.loads(CliRunner().invoke(app, ["prompts", SMOKE, *overrides, *more]).output)[0]
        assert (training["num_prompts"], training["num_too_long"], bool(training["lengths"])) == (2, int(longest), longest)
    plain = CliRunner().invoke(app, ["prompts", SMOKE, *overrides, "--set", "chat_template=plain"])
    assert "the endpoint's own renders, leave it out" in str(plain.exception)
    assert not CliRunner().invoke(app, ["prompts", SMOKE, *overrides, "--set", "chat_template="]).exception


def test_an_example_from_a_benchmark_is_refused(overrides: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["prompts", SMOKE, *overrides, "--set", f"examples={tmp_path}/taken.jsonl"])
    assert "'What is nine minus four?' is 09b3f06b887c84cd of bench" in str(result.exception)


def test_a_benchmark_that_cannot_be_read_says_so_and_the_rest_is_shown(overrides: list[str], tmp_path: Path) -> None:
    gone = ["--set", f"evaluate.benchmarks.0.path={tmp_path}/gone.jsonl", "--set", "examples=[]"]
    result = CliRunner().invoke(app, ["prompts", SMOKE, "--format", "json", *overrides, *gone])
    training, _, benchmark = json.loads(result.output)
    assert "gone.jsonl" in benchmark["problem"] and training["problem"].startswith("not cleaned: ")
    assert training["num_prompts"] == 5
