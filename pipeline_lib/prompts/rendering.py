"""A problem as the token ids a model continues: suffix, chat template, response prefix."""

from typing import TYPE_CHECKING, Any

from pipeline_lib.config import PromptSource

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def render_prompt(tokenizer: "PreTrainedTokenizerBase", source: PromptSource, problem: str) -> list[int]:
    """Token ids of a user turn with the problem and the source's suffix, up to and including the response prefix.

    Raises ValueError when the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ValueError(f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, which rendering a prompt needs")
    text = tokenizer.apply_chat_template(
        prompt_messages(source, problem), tokenize=False, add_generation_prompt=True, **template_arguments(source)
    )
    assert isinstance(text, str)
    # The template has written the tokenizer's own special tokens already; adding them again would double the first.
    token_ids: list[int] = tokenizer(append_prefix(text, source.response_prefix), add_special_tokens=False)["input_ids"]
    return token_ids


def prompt_messages(source: PromptSource, problem: str) -> list[dict[str, str]]:
    """The turns by which a problem is put to a model: role and content of each."""
    return [{"role": "user", "content": f"{problem}\n{source.user_suffix}" if source.user_suffix else problem}]


def template_arguments(source: PromptSource) -> dict[str, Any]:
    """What the chat template is told beside the turns."""
    return {} if source.enable_thinking is None else {"enable_thinking": source.enable_thinking}


def append_prefix(text: str, prefix: str) -> str:
    """The rendered turn with the response prefix at its end, once: some templates (R1) already open the response with it.

    Raises ValueError when the template has closed the thinking that the prefix would open again.
    """
    opening = prefix.rstrip()
    if opening.lstrip().startswith("<think>") and text.rstrip().endswith("</think>"):
        raise ValueError(
            f"response_prefix = {prefix!r} opens the thinking that the chat template has just closed with </think>: leave "
            "response_prefix empty, or set enable_thinking = true"
        )
    if not opening or not text.rstrip().endswith(opening):
        return text + prefix
    # Only white space may differ: complete a bare '<think>' to '<think>\n', leave the template's own white space alone.
    return text + prefix[len(opening) :] if text.endswith(opening) else text
