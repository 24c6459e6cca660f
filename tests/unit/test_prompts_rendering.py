"""Rendering: suffix, chat template, response prefix exactly once, on templates of the kinds in use."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pipeline_lib.config import PAPER_PROMPT_SUFFIX, PromptSource
from pipeline_lib.prompts.rendering import append_prefix, render_prompt
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
    with pytest.raises(ValueError, match="has no chat template"):
        render_prompt(tokenizer, source(), "7a+3")


def test_the_tiny_worlds_own_tokenizer_is_rendered_alike():
    tiny = build_tokenizer()
    tiny_source = PromptSource(name="tiny-sum", kind="tiny", num_prompts=1)
    text = tiny.decode(render_prompt(tiny, tiny_source, "7a+3b-2"))
    assert text == "<|im_start|>user\n7a+3b-2<|im_end|>\n<|im_start|>assistant\n"
