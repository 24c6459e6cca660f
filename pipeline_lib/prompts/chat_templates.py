"""The chat template that a run renders with: the tokenizer's own, one from a file, or plain text for models that have none."""

import copy
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline_lib.config import PromptSource, RunConfig
from pipeline_lib.tiny_world import BASE_FOLDER, BUILTIN_TINY

# Models that were never taught turns: questions and answers as text, the end token behind each answer of an example.
PLAIN_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{{ 'Question: ' + message['content'] + '\\n' }}"
    "{%- elif message['role'] == 'assistant' -%}{{ 'Answer: ' + message['content'] + (eos_token or '') + '\\n\\n' }}"
    "{%- else -%}{{ message['content'] + '\\n\\n' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'Answer:' }}{%- endif -%}"
)

# The lazy modules of transformers break when two threads (runs side by side) import from them for the first time together.
_transformers_lock = threading.Lock()


def load_tokenizer(location: str, config: RunConfig) -> Any:
    """The tokenizer of a run's base model, which lies at `location`, with the configured chat template; no weights are read."""
    with _transformers_lock:
        if config.base_model == BUILTIN_TINY:  # AutoTokenizer chooses this class, but imports torch and more for it: 10 s
            from transformers import PreTrainedTokenizerFast

            tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(location)
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(location, revision=config.model_revision)
    if config.chat_template == "plain":
        # What the tokenizer puts before every text by itself: prompts are rendered without that.
        starts = tokenizer.bos_token and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
        tokenizer.chat_template = ("{{- bos_token -}}" if starts else "") + PLAIN_TEMPLATE
    elif config.chat_template:
        tokenizer.chat_template = config.chat_template
    return tokenizer


def has_chat_template(base_model: str) -> bool | None:
    """Whether the tokenizer of a model folder, or of a hub model in the local cache, has one; None where neither is known here."""
    folder = BASE_FOLDER if base_model == BUILTIN_TINY else Path(base_model).expanduser()
    if not folder.is_dir() and base_model.count("/") == 1:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        with suppress(HFValidationError):
            cached = try_to_load_from_cache(base_model, "tokenizer_config.json")
            folder = Path(cached).parent if isinstance(cached, str) else folder
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    files = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
    return bool(settings.get("chat_template")) or any((folder / name).exists() for name in files)


def served_tokenizer(tokenizer: Any, source: PromptSource) -> Any:
    """The tokenizer as it is saved with a trained model: whoever sends only a problem gets the prompt that was trained on.

    Its template puts the system prompt and the example turns before a conversation that begins with neither.
    """
    own, template = [], tokenizer.chat_template
    if source.system_prompt:
        system = [{"role": "system", "content": source.system_prompt}]
        own.append(
            f"{{%- if messages[0]['role'] != 'system' -%}}{{%- set messages = {_literal(system)} + messages -%}}{{%- endif -%}}"
        )
    if source.examples:
        # A conversation with an answer in it has turns of its own. System prompts stand first.
        turns = [turn for example in source.examples for turn in example.turns(source.user_suffix)]
        own.insert(
            0,
            "{%- if messages | selectattr('role', 'equalto', 'assistant') | list | length == 0 -%}"
            "{%- set start = 1 if messages[0]['role'] == 'system' else 0 -%}"
            f"{{%- set messages = messages[:start] + {_literal(turns)} + messages[start:] -%}}{{%- endif -%}}",
        )
    before = "".join(own)
    if not own or not isinstance(template, str) or template.startswith(before):  # as of a base that was trained so before
        return tokenizer
    served = copy.copy(tokenizer)
    served.chat_template = before + template
    return served


def _literal(messages: list[dict[str, str]]) -> str:
    """Messages as Jinja reads them: JSON, but for characters that JSON would write as two halves."""
    return json.dumps(messages, ensure_ascii=False)
