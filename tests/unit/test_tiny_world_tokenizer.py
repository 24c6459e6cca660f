"""The tiny world's tokenizer: what is one token, round trips, the rendered prompt."""

import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pipeline_lib.tiny_world.problems import FAMILIES, LABELS, random_problem
from pipeline_lib.tiny_world.tokenizer import build_tokenizer, render_prompt
from pipeline_lib.tiny_world.traces import STYLES, draw_trace

PROMPT = "<|im_start|>user\n7a+3b-2<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@pytest.mark.parametrize(
    "text",
    [
        *(f" {digit}" for digit in range(10)),
        *"0123456789+-<>=\n}",
        *LABELS[:16],
        *("<think>", "</think>", "\\boxed{", "<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        *("okay", " the", " problem", " is", "wait", " let", " me", " double", " check", " ok", "so", " answer"),
    ],
)
def test_one_token(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert len(tokenizer.encode(text)) == 1
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_problem_is_its_characters(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("7a+3b-2") == list("7a+3b-2")


@pytest.mark.parametrize(
    ("style", "num_tokens"),
    # With the end token: 8 for the frame, count 5+3d a line, table 7 a line, fold 10 a pair.
    [("count", 8 + (5 + 9) + (5 + 6)), ("table", 8 + 2 * 7), ("fold", 8 + 10), ("skip", 8)],
)
def test_response_lengths(tokenizer: PreTrainedTokenizerFast, style: str, num_tokens: int) -> None:
    response = draw_trace("7a+3b-2", style, random.Random(0)).response
    assert len(tokenizer.encode(response + tokenizer.eos_token)) == num_tokens


def test_round_trip_of_every_style(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = random.Random(0)
    for index in range(100):
        problem = random_problem(FAMILIES["sum" if index % 2 else "wheel"], 1 + index % 7, rng, 6)
        response = draw_trace(problem, STYLES[index % 5], rng).response
        assert tokenizer.decode(tokenizer.encode(response)) == response


def test_any_text_survives(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "Prove that √2 ≠ ½, weiß?\t  \\boxed{42}"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_prompt_has_no_instruction_text(tokenizer: PreTrainedTokenizerFast) -> None:
    assert render_prompt(tokenizer, "7a+3b-2") == PROMPT


def test_special_tokens_and_size(tokenizer: PreTrainedTokenizerFast) -> None:
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 2)
    assert tokenizer.bos_token is None
    assert 3 + 256 + 2 < len(tokenizer) <= 330
    assert tokenizer.decode(tokenizer.encode("<think>\n8<|im_end|>"), skip_special_tokens=True) == "<think>\n8"


def test_saved_folder_loads_as_the_same_tokenizer(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = PROMPT + draw_trace("7a+3b-2", "verbose", random.Random(1)).response + "<|im_end|>"
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.encode(text) == tokenizer.encode(text)
    assert render_prompt(loaded, "7a+3b-2") == PROMPT
    assert (loaded.pad_token_id, loaded.eos_token_id) == (0, 2)


def test_building_twice_gives_the_same_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    assert build_tokenizer().backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
