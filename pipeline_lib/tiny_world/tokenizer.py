"""The tiny world's tokenizer: byte-level BPE in which every digit, label and word of the grammar is one token."""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pipeline_lib.tiny_world.traces import CONCLUSION, OPENING, RECOUNT, THINK_END, THINK_START

PAD_TOKEN, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# The tiny tasks need 300; the room is for running real problems, a token a character, through the whole pipeline.
MODEL_MAX_TOKENS = 4096

# A digit or word with the space before it is one piece, so that BPE can make it one token; all else is split into characters.
PIECES = r"\\boxed\{| ?[a-z]+| ?[0-9]|[^a-z0-9]"
MERGE_TEXTS = [OPENING, RECOUNT, CONCLUSION, " check ok", " 0 1 2 3 4 5 6 7 8 9", "\\boxed{", "user", "assistant"]
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, the same at every call: about 330 entries, chat template without any instruction text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        min_frequency=1,
        show_progress=False,
        special_tokens=[PAD_TOKEN, TURN_START, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    bpe.train_from_iterator(MERGE_TEXTS, trainer)
    bpe.add_tokens([THINK_START, THINK_END])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        pad_token=PAD_TOKEN,
        eos_token=TURN_END,
        additional_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MODEL_MAX_TOKENS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def render_prompt(tokenizer: PreTrainedTokenizerBase, problem: str) -> str:
    """The text of the user turn and the opening of the assistant's."""
    text = tokenizer.apply_chat_template([{"role": "user", "content": problem}], tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text
