"""A problem as the token ids a model continues: system prompt, example turns, suffix, chat template, response prefix."""

from typing import TYPE_CHECKING, Any

from pipeline_lib.config import PromptSource, with_suffix

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Room for what a chat template writes around a turn, when lengths are judged by bytes alone.
TEMPLATE_BYTES = 512


def render_prompt(tokenizer: "PreTrainedTokenizerBase", source: PromptSource, problem: str) -> list[int]:
    """Token ids of all turns, the last with the problem and the source's suffix, up to and including the response prefix.

    Raises ValueError when the tokenizer has no chat template, or one that fails.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, which rendering a prompt needs: set "
            "chat_template to the path of a Jinja template, or to 'plain' (docs/data.md)"
        )
    thinking: dict[str, Any] = {} if source.enable_thinking is None else {"enable_thinking": source.enable_thinking}
    try:
        text = tokenizer.apply_chat_template(turns(source, problem), tokenize=False, add_generation_prompt=True, **thinking)
    except Exception as error:  # a template is a program: besides its own refusals it may raise anything
        raise ValueError(f"the chat template of {tokenizer.name_or_path!r} fails: {type(error).__name__}: {error}") from error
    assert isinstance(text, str)
    # The template has written the tokenizer's own special tokens already; adding them again would double the first.
    token_ids: list[int] = tokenizer(append_prefix(text, source.response_prefix), add_special_tokens=False)["input_ids"]
    return token_ids


def turns(source: PromptSource, problem: str) -> list[dict[str, str]]:
    """The conversation that asks for a solution of the problem."""
    system = [{"role": "system", "content": source.system_prompt}] if source.system_prompt else []
    examples = [turn for example in source.examples or () for turn in example.turns(source.user_suffix)]
    return [*system, *examples, {"role": "user", "content": with_suffix(problem, source.user_suffix)}]


def surely_fits(source: PromptSource, problem: str, limit_tokens: int, chat_template: str | None) -> bool:
    """Whether a problem fits without asking the tokenizer: none makes more tokens of a text than it has bytes."""
    room = max(TEMPLATE_BYTES, len(chat_template or ""))
    return sum(len(turn["content"].encode()) + room for turn in turns(source, problem)) <= limit_tokens


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
