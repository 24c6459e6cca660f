"""Rendering: suffix, chat template, response prefix exactly once, on templates of the kinds in use."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pipeline_lib.config import PAPER_PROMPT_SUFFIX, PromptSource, load_config, parse_config
from pipeline_lib.config.sources import Example
from pipeline_lib.prompts.chat_templates import load_tokenizer, served_tokenizer
from pipeline_lib.prompts.local_copies import source_identity
from pipeline_lib.prompts.rendering import append_prefix, render_prompt, turns
from pipeline_lib.stages.stage import sampling_identity
from pipeline_lib.tiny_world.tokenizer import build_tokenizer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
BOS_AND_THINK = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_end|><think>\n{% endif %}"
)
USER_TURN = "<|im_start|>user\n7a+3\nThink.<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that, like Llama's, puts <s> before every text unless told not to."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<s>", "<|im_start|>", "<|im_end|>"])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))])
    built = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="<|im_end|>")
    assert built("a")["input_ids"][0] == built.bos_token_id
    built.chat_template = CHATML
    return built


def source(**settings) -> PromptSource:
    return PromptSource(name="local", kind="file", path="x.jsonl", **settings)


def test_problem_suffix_and_template_become_token_ids(tokenizer):
    token_ids = render_prompt(tokenizer, source(suffix="Think."), "7a+3")
    assert all(type(token_id) is int for token_id in token_ids)
    assert tokenizer.decode(token_ids) == USER_TURN
    assert token_ids[0] == tokenizer.convert_tokens_to_ids("<|im_start|>")


def test_without_suffix_nothing_follows_the_problem(tokenizer):
    text = tokenizer.decode(render_prompt(tokenizer, source(), "7a+3"))
    assert text == "<|im_start|>user\n7a+3<|im_end|>\n<|im_start|>assistant\n"


def test_the_suffix_of_the_paper_stands_inside_the_user_turn(tokenizer):
    text = tokenizer.decode(render_prompt(tokenizer, source(suffix=PAPER_PROMPT_SUFFIX), "7a+3"))
    assert f"7a+3\n{PAPER_PROMPT_SUFFIX}<|im_end|>" in text


@pytest.mark.parametrize(("enable_thinking", "ending"), [(None, ""), (True, ""), (False, "<think>\n\n</think>\n\n")])
def test_thinking_is_passed_only_when_set(tokenizer, enable_thinking, ending):
    token_ids = render_prompt(tokenizer, source(suffix="Think.", enable_thinking=enable_thinking), "7a+3")
    assert tokenizer.decode(token_ids) == USER_TURN + ending


def test_a_response_prefix_the_template_writes_is_not_doubled(tokenizer):
    plain = tokenizer.decode(render_prompt(tokenizer, source(suffix="Think.", response_prefix="<think>\n"), "7a+3"))
    assert plain == USER_TURN + "<think>\n"
    tokenizer.chat_template = BOS_AND_THINK
    token_ids = render_prompt(tokenizer, source(response_prefix="<think>\n"), "7a+3")
    assert tokenizer.decode(token_ids) == "<s><|im_start|>7a+3<|im_end|><think>\n"
    assert token_ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(
    ("text", "prefix", "expected"),
    [
        ("A:", "", "A:"),
        ("A:", "<think>\n", "A:<think>\n"),
        ("A:<think>\n", "<think>\n", "A:<think>\n"),
        ("A:<think>", "<think>\n", "A:<think>\n"),
        ("A:<think>\n\n", "<think>\n", "A:<think>\n\n"),
        ("A:\n", "\n", "A:\n\n"),
    ],
)
def test_append_prefix(text, prefix, expected):
    assert append_prefix(text, prefix) == expected


def test_a_prefix_does_not_open_the_thinking_that_the_template_has_closed(tokenizer):
    with pytest.raises(ValueError, match="opens the thinking that the chat template has just closed") as caught:
        render_prompt(tokenizer, source(enable_thinking=False, response_prefix="<think>\n"), "7a+3")
    assert "\n" not in str(caught.value)
    closed = append_prefix("A:<think>\n\n</think>\n\n", "The answer")
    assert closed == "A:<think>\n\n</think>\n\nThe answer"


def test_a_tokenizer_without_chat_template_is_refused(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="has no chat template, .* or to 'plain'"):
        render_prompt(tokenizer, source(), "7a+3")


EXAMPLES = [{"problem": "1+1", "response": 'So "2" {{ x }} 😀.'}]
SMOKE = Path(__file__).resolve().parents[2] / "configs" / "smoke.toml"


def test_system_prompt_and_example_turns_stand_before_the_problem(tokenizer):
    text = tokenizer.decode(
        render_prompt(tokenizer, source(system_prompt="Be brief.", examples=EXAMPLES, suffix="Think."), "7a+3")
    )
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1+1\nThink.<|im_end|>\n"
        '<|im_start|>assistant\nSo "2" {{ x }} 😀.<|im_end|>\n' + USER_TURN
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"system_prompt": "Say \"yes\"\n%} 'no' \\\\n."},
        {"examples": EXAMPLES},
        {"system_prompt": "Be brief.", "examples": EXAMPLES},
        {},
    ],
)
def test_a_served_model_renders_a_bare_problem_as_it_was_trained(tokenizer, settings):
    asked = source(suffix="Think.", **settings)
    served = served_tokenizer(tokenizer, asked)
    expected = render_prompt(tokenizer, asked, "7a+3")
    assert render_prompt(served, source(suffix="Think."), "7a+3") == expected
    assert render_prompt(served, asked, "7a+3") == expected  # as the base of another run with the same settings
    assert tokenizer.chat_template == CHATML
    assert served_tokenizer(served, asked).chat_template == served.chat_template


def test_a_served_model_leaves_a_conversation_of_its_own_alone(tokenizer):
    served = served_tokenizer(tokenizer, source(system_prompt="Be brief.", examples=EXAMPLES))
    roles = ["system", "user", "assistant", "user"]
    conversation = [{"role": role, "content": f"{number}"} for number, role in enumerate(roles)]
    assert served.apply_chat_template(conversation, tokenize=False) == tokenizer.apply_chat_template(
        conversation, tokenize=False
    )


def folder_without_template(tokenizer, folder: Path) -> str:
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_base_without_a_template_is_rendered_as_plain_text(tokenizer, tmp_path):
    folder = folder_without_template(tokenizer, tmp_path)
    config = load_config(SMOKE, [f"base_model={folder}", "chat_template=plain", 'system_prompt="Sums."'])
    plain = load_tokenizer(folder, config)
    asked = config.prompts.model_copy(update={"examples": (Example(**EXAMPLES[0]),)})
    token_ids = render_prompt(plain, asked, "7a+3")
    assert plain.decode(token_ids) == (
        '<s>Sums.\n\nQuestion: 1+1\nAnswer: So "2" {{ x }} 😀.<|im_end|>\n\nQuestion: 7a+3\nAnswer:'
    )
    assert token_ids.count(plain.bos_token_id) == 1
    plain.save_pretrained(tmp_path / "saved")
    assert PreTrainedTokenizerFast.from_pretrained(tmp_path / "saved").chat_template == plain.chat_template


def test_a_template_from_a_file_is_part_of_the_configuration_and_of_its_run(tokenizer, tmp_path):
    (tmp_path / "turns.jinja").write_text("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}")
    (tmp_path / "run.toml").write_text('extends = "smoke"\nchat_template = "turns.jinja"\n')
    config, smoke = load_config(tmp_path / "run.toml"), load_config(SMOKE)
    (tmp_path / "turns.jinja").unlink()
    assert config.run_id != smoke.run_id and sampling_identity(config) != sampling_identity(smoke)
    assert parse_config(config.model_dump(mode="json"), type(config)) == config
    folder = folder_without_template(tokenizer, tmp_path / "base")
    loaded = load_tokenizer(folder, config.model_copy(update={"base_model": folder}))
    assert loaded.decode(render_prompt(loaded, config.prompts, "7a+3")) == "[user] 7a+3\n"


def test_a_template_that_refuses_is_named_in_one_line(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(ValueError, match="the chat template of '.*' fails: TemplateError: System role not supported"):
        render_prompt(tokenizer, source(), "7a+3")


def test_what_is_given_to_the_run_holds_for_every_source_that_does_not_override_it(tmp_path):
    (tmp_path / "shots.jsonl").write_text('{"problem": "1+1", "response": "2"}\n')
    (tmp_path / "run.toml").write_text('extends = "smoke"\nsystem_prompt = "Be brief."\nexamples = "shots.jsonl"\n')
    config = load_config(tmp_path / "run.toml", ['validation.source.system_prompt=""', "evaluate.benchmarks.0.examples=[]"])
    benchmark, validation = config.evaluate.benchmarks[0], config.validation.source
    shots = (Example(problem="1+1", response="2"),)
    assert (config.prompts.system_prompt, config.prompts.examples) == ("Be brief.", shots)
    assert (validation.system_prompt, validation.examples) == ("", shots)
    assert (benchmark.system_prompt, benchmark.examples) == ("Be brief.", ())
    assert [turn["role"] for turn in turns(benchmark, "7a")] == ["system", "user"]
    assert source_identity(config.prompts) != source_identity(load_config(SMOKE).prompts)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("examples", "none.jsonl", "examples = 'none.jsonl': there is no file none.jsonl"),
        ("examples", "bad.jsonl", "bad.jsonl.*response"),
        ("examples", "empty.jsonl", "examples.0.response = '': String should have at least 1 character"),
        ("chat_template", "none.jinja", "chat_template = 'none.jinja': there is no file none.jinja"),
        ("chat_template", "bare.jinja", "holds no Jinja template"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, key, value, complaint):
    (tmp_path / "bad.jsonl").write_text('{"problem": "1+1", "answer": "2"}\n')
    (tmp_path / "empty.jsonl").write_text('{"problem": "1+1", "response": ""}\n')
    (tmp_path / "bare.jinja").write_text("Question:")
    (tmp_path / "run.toml").write_text(f'extends = "smoke"\n{key} = "{value}"\n')
    with pytest.raises(ValueError, match=complaint):
        load_config(tmp_path / "run.toml")


def test_the_tiny_worlds_own_tokenizer_is_rendered_alike():
    tiny = build_tokenizer()
    tiny_source = PromptSource(name="tiny-sum", kind="tiny", num_prompts=1)
    text = tiny.decode(render_prompt(tiny, tiny_source, "7a+3b-2"))
    assert text == "<|im_start|>user\n7a+3b-2<|im_end|>\n<|im_start|>assistant\n"
