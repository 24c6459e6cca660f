"""What a model is made of as far as memory goes: the numbers of its config.json (decoders of the Llama and Qwen kind)."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline_lib.tiny_world import BASE_FOLDER, BUILTIN_TINY


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of a decoder. `feed_forward` is that of one expert where there are experts; norms and biases are not counted."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    feed_forward: int
    vocabulary: int
    is_tied: bool
    has_head_norms: bool = False
    experts: int = 0
    experts_per_token: int = 0

    @classmethod
    def of(cls, model: dict[str, Any]) -> "Architecture":
        """From the content of a config.json. Raises KeyError when a needed key is not there."""
        model = model.get("text_config", model)
        heads = model["num_attention_heads"]
        experts = model.get("num_experts") or model.get("num_local_experts") or 0
        return cls(
            hidden=model["hidden_size"],
            layers=model["num_hidden_layers"],
            heads=heads,
            key_value_heads=model.get("num_key_value_heads") or heads,
            head_width=model.get("head_dim") or model["hidden_size"] // heads,
            feed_forward=(experts and model.get("moe_intermediate_size")) or model["intermediate_size"],
            vocabulary=model["vocab_size"],
            is_tied=bool(model.get("tie_word_embeddings")),
            has_head_norms=str(model.get("model_type", "")).startswith("qwen3"),
            experts=experts,
            experts_per_token=model.get("num_experts_per_tok", 0) if experts else 0,
        )

    @property
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Width in and out of a block's linear layers, by name; the experts, which are no linear layers, left out."""
        query, key = self.heads * self.head_width, self.key_value_heads * self.head_width
        attention = {
            "q_proj": (self.hidden, query),
            "k_proj": (self.hidden, key),
            "v_proj": (self.hidden, key),
            "o_proj": (query, self.hidden),
        }
        if self.experts:
            return attention
        up = (self.hidden, self.feed_forward)
        return attention | {"gate_proj": up, "up_proj": up, "down_proj": (self.feed_forward, self.hidden)}

    @property
    def parameters_of_a_layer(self) -> int:
        """Weights of one block, all experts and their router counted."""
        experts = self.experts * (3 * self.hidden * self.feed_forward + self.hidden)
        return sum(wide * narrow for wide, narrow in self.linear_layers.values()) + experts

    @property
    def parameters(self) -> int:
        """Weights of the whole model."""
        embeddings = self.vocabulary * self.hidden * (1 if self.is_tied else 2)
        return embeddings + self.layers * self.parameters_of_a_layer


_QWEN3_0_6B = Architecture(
    hidden=1024, layers=28, heads=16, key_value_heads=8, head_width=128, feed_forward=3072, vocabulary=151_936, is_tied=True,
    has_head_norms=True,
)  # fmt: skip
_QWEN3_4B = replace(_QWEN3_0_6B, hidden=2560, layers=36, heads=32, feed_forward=9728)
_QWEN3_30B_A3B = replace(
    _QWEN3_0_6B, hidden=2048, layers=48, heads=32, key_value_heads=4, feed_forward=768, is_tied=False, experts=128, experts_per_token=8
)  # fmt: skip
# Models of the shipped configurations, from the config.json of each on the hub: they are planned without a network.
PUBLISHED = {
    "Qwen/Qwen3-0.6B": _QWEN3_0_6B,
    "Qwen/Qwen3-1.7B": replace(_QWEN3_0_6B, hidden=2048, feed_forward=6144),
    "Qwen/Qwen3-4B-Instruct-2507": _QWEN3_4B,
    "Qwen/Qwen3-4B-Thinking-2507": _QWEN3_4B,
    "Qwen/Qwen3-8B": replace(_QWEN3_4B, hidden=4096, feed_forward=12_288, is_tied=False),
    "Qwen/Qwen3-30B-A3B-Instruct-2507": _QWEN3_30B_A3B,
    "Qwen/Qwen3-30B-A3B-Thinking-2507": _QWEN3_30B_A3B,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": Architecture(
        hidden=1536,
        layers=28,
        heads=12,
        key_value_heads=2,
        head_width=128,
        feed_forward=8960,
        vocabulary=151_936,
        is_tied=False,
    ),
}


def architecture_of(base_model: str) -> Architecture | None:
    """That of a model folder, 'builtin:tiny', a hub model in the local cache or one of PUBLISHED; None where it is not known."""
    folder = BASE_FOLDER if base_model == BUILTIN_TINY else Path(base_model).expanduser()
    file = folder / "config.json"
    if not file.is_file() and base_model in PUBLISHED:
        return PUBLISHED[base_model]
    if not file.is_file() and base_model.count("/") == 1:
        file = _cached(base_model) or file
    try:
        return Architecture.of(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, KeyError, ValueError):
        return None


def _cached(hub_id: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(hub_id, "config.json")
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None
