"""The checks of `h100.py`, each a function that measures on the card at hand; without one in toy shapes."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
GIB = 2**30
IS_TOY = not any(Path("/dev").glob("nvidia[0-9]*"))
DEVICE = "cpu" if IS_TOY else "cuda"
MICRO_BATCH_TOKENS = 1024 if IS_TOY else 16_384
PROMPT_TOKENS = 512
SEQUENCES, SAMPLED = (8, 24) if IS_TOY else (128, 896)
# hidden, layers, heads, key-value heads, feed-forward (configurations published with Qwen3; embeddings are tied).
SHAPES = {"0.6B": (1024, 28, 16, 8, 3072), "1.7B": (2048, 28, 16, 8, 6144)}
if IS_TOY:
    SHAPES = {"0.6B": (64, 2, 2, 1, 128), "1.7B": (96, 2, 2, 1, 192)}
VOCABULARY = 1024 if IS_TOY else 151_936


def _measure_anew() -> None:
    """Finish what has been launched, and forget the peak of memory."""
    import torch

    if not IS_TOY:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def _gib(is_peak: bool = True) -> float:
    """What torch allocates on the card, or has at most since the last `_measure_anew`; when all that was launched is done."""
    import torch

    if not IS_TOY:
        torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() if is_peak else torch.cuda.memory_allocated()) / GIB


def single_rank() -> None:
    """Be a process group of one."""
    from pipeline_lib.training.ranks import init_distributed

    values = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29611"}
    for name, value in values.items():
        os.environ.setdefault(name, value)
    init_distributed()


def _model_folder(shape: str, std: float = 0.02) -> str:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    hidden, layers, heads, kv_heads, feed_forward = SHAPES[shape]
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, head_dim=128, intermediate_size=feed_forward, tie_word_embeddings=True,
        max_position_embeddings=40_960, initializer_range=std,
    )  # fmt: skip
    folder = Path(tempfile.gettempdir()) / f"laconic-{DEVICE}-{shape}-{std}"
    if not folder.exists():
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(DEVICE):
            model = Qwen3ForCausalLM(config)
        torch.set_default_dtype(torch.float32)
        model.save_pretrained(folder)
        del model
        torch.cuda.empty_cache()
    return str(folder)


def _policy(shape: str, **settings: Any) -> Any:
    from pipeline_lib.config import ComputeConfig, TrainConfig
    from pipeline_lib.training.policy import Policy

    values = {"precision": "bfloat16", "gradient_checkpointing": True, "micro_batch_tokens": MICRO_BATCH_TOKENS, **settings}
    return Policy(TrainConfig(steps=1, prompts_per_step=1), ComputeConfig(**values), _model_folder(shape), None)


def _batch(num_sequences: int, length: int, device: Any) -> Any:
    import torch

    from pipeline_lib.training.batches import PaddedBatch, TokenSequence

    draws = torch.Generator().manual_seed(1)
    ids = torch.randint(0, VOCABULARY, (num_sequences, length), generator=draws).tolist()
    prompt = min(PROMPT_TOKENS, length // 4)
    rows = [TokenSequence(row[:prompt], row[prompt:], [0.0] * (length - prompt), 1.0) for row in ids]
    return PaddedBatch.from_sequences(rows, device)


def _planned(shape: str, settings: dict[str, Any]) -> dict[str, float]:
    """The memory plan's GiB of the trainer alone, by phase: what torch allocates, without engine and context."""
    from pipeline_lib.config import load_config
    from pipeline_lib.memory import H100, architecture_of, memory_plan
    from pipeline_lib.memory.plan import CONTEXT_GIB

    keys = {"gradient_checkpointing": True, "micro_batch_tokens": MICRO_BATCH_TOKENS, "num_processes": 1, **settings}
    words = [f"compute.{name}={str(value).lower()}" for name, value in keys.items()]
    limits = [
        "generation.max_prompt_tokens=512",
        f"train.rollout_limit_tokens={MICRO_BATCH_TOKENS - 512}",
        "reward.target_tokens=512",
    ]
    config = load_config(REPOSITORY / f"configs/qwen3-{shape.lower()}-1gpu.toml", [*words, *limits])
    model = architecture_of(_model_folder(shape))
    assert model
    phases = {phase.name: phase for phase in memory_plan(config, model, H100).phases}
    return {
        name: phases[name].total - phases[name].parts["engine"] - CONTEXT_GIB for name in ("backward pass", "optimiser step")
    }


def check_update(shape: str, how: str) -> dict[str, Any]:
    """Peak memory, against the plan, and time of an optimiser step on one sequence of 16,384 tokens at a ZeRO stage, or offloaded."""

    settings = {"zero_stage": 2, "optimizer_offload": True} if how == "offload" else {"zero_stage": int(how)}
    planned = _planned(shape, settings)
    policy = _policy(shape, **settings)
    batch = _batch(1, MICRO_BATCH_TOKENS, policy.device)
    num_parameters = sum(parameter.numel() for parameter in policy.engine.module.parameters())
    measured: dict[str, Any] = {"parameters": num_parameters, "between steps": _gib(is_peak=False)}
    for _ in range(3):
        _measure_anew()
        started = time.perf_counter()
        logprobs = policy.logprobs(batch)
        measured["saved for backward"] = _gib(is_peak=False) - measured["between steps"]
        policy.backward(-logprobs.sum() / MICRO_BATCH_TOKENS, is_last=True)
        measured["backward pass"] = _gib()
        _measure_anew()
        measured["gradient norm"] = policy.step()
        measured["optimiser step"] = _gib()
        seconds = time.perf_counter() - started
    flops = 6 * num_parameters * MICRO_BATCH_TOKENS
    layers, heads = SHAPES[shape][1:3]
    flops += 6 * layers * heads * 128 * MICRO_BATCH_TOKENS**2  # attention, causal: half of 12
    speed = {"seconds": seconds, "tokens/s": MICRO_BATCH_TOKENS / seconds, "MFU of 989 TFLOP/s": flops / seconds / 989e12}
    return {**measured, **speed, "planned": planned}


def check_accumulation() -> dict[str, Any]:
    """Gradient of 64 micro-batches of 256 tokens against one of 16,384, summed in float32: relative error, memory."""
    from deepspeed.utils import safe_get_full_grad

    policy = _policy("0.6B", zero_stage=2)
    names = [
        "base_model.layers.0.mlp.up_proj.weight",
        f"base_model.layers.{SHAPES['0.6B'][1] - 1}.self_attn.q_proj.weight",
        "base_model.norm.weight",
    ]
    parameters = dict(policy.engine.module.model.named_parameters())
    chosen = {name: parameters[name.replace("base_model", "model")] for name in names}
    whole = _batch(64, MICRO_BATCH_TOKENS // 64, policy.device)

    def gradients(size: int) -> tuple[dict[str, Any], float, float]:
        _measure_anew()
        started = time.perf_counter()
        for start in range(0, 64, size):
            part = type(whole)(*(getattr(whole, name)[start : start + size] for name in whole.__dataclass_fields__))
            policy.backward(-policy.logprobs(part).sum() / MICRO_BATCH_TOKENS, is_last=start + size == 64)
        found = {name: safe_get_full_grad(parameter).float().clone() for name, parameter in chosen.items()}
        peak, seconds = _gib(), time.perf_counter() - started
        for group in policy.engine.optimizer.param_groups:
            group["lr"] = 0.0
        policy.engine.step()
        return found, peak, seconds

    gradients(64)
    one, one_peak, one_seconds = gradients(64)
    many, many_peak, many_seconds = gradients(1)
    errors = {name: float((one[name] - many[name]).norm() / one[name].norm()) for name in names}
    return {"relative error": errors, "peak, GiB": [one_peak, many_peak], "seconds": [one_seconds, many_seconds]}


def check_gap() -> dict[str, Any]:
    """Differences of log-probs (nats): engine against trainer, and the trainer one sequence against eight at a time, in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    from pipeline_lib.training.model import ResponseLogprobs

    # Random weights give next to uniform distributions (`entropy`): a trained model's log-probs differ more at its rare tokens.
    model = AutoModelForCausalLM.from_pretrained(_model_folder("0.6B", std=0.05), dtype=torch.bfloat16).to(DEVICE).eval()
    torch.manual_seed(0)
    sequences, engine = _sample(model, num_sequences=SEQUENCES, prompt=64, limit=SAMPLED)
    scorer = ResponseLogprobs(model, 1.0)  # from here on the model's output layer takes targets
    found: dict[str, Any] = {}
    with torch.no_grad():
        score = {}
        for chunk in (1, 8):
            rows = [_score(scorer, sequences[start : start + chunk], 64) for start in range(0, len(sequences), chunk)]
            score[chunk] = torch.cat(rows).double().cpu()
    entropy = float(-score[1].mean())
    pairs = {"engine_trainer": (engine, score[1]), "trainer_1_8": (score[8], score[1])}
    for name, (one, other) in pairs.items():
        gap = (one - other).flatten()
        size = gap.abs()
        found[name] = {
            "tokens": gap.numel(), "mean": float(size.mean()), "sd": float(gap.std()), "max": float(size.max()),
            "p99.9": float(size.sort()[0][int(0.999 * len(size))]), "k3": float((torch.exp(-gap) - 1 + gap).mean()),
            "outside_0.5_2": float((size > 0.693147).double().mean()),
        }  # fmt: skip
    return {"entropy": entropy, **found}


def _sample(model: Any, num_sequences: int, prompt: int, limit: int) -> tuple[Any, Any]:
    """Token ids (B, prompt + limit) sampled with a cache, and the engine's log-probs (B, limit) of what was drawn."""
    import torch

    ids = torch.randint(0, VOCABULARY, (num_sequences, prompt), device=DEVICE)
    logprobs, cache, new = [], None, ids
    with torch.inference_mode():
        for _ in range(limit):
            output = model(input_ids=new, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = output.past_key_values
            scores = torch.log_softmax(output.logits[:, -1].float(), dim=-1)
            new = torch.multinomial(scores.exp(), 1)
            logprobs.append(scores.gather(-1, new).squeeze(-1))
            ids = torch.cat([ids, new], dim=1)
    return ids.clone(), torch.stack(logprobs, dim=1).double().cpu()


def _score(scorer: Any, ids: Any, prompt: int) -> Any:
    import torch

    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[:, prompt:] = True
    return scorer(ids, mask)[:, prompt:]


def check_head() -> dict[str, Any]:
    """Peak memory and time of the trainer's output layer over 16,384 tokens at temperature 1, by rows at once."""
    from functools import partial

    import torch

    from pipeline_lib.memory.plan import chunk_tokens
    from pipeline_lib.training.model import chunked_logprobs

    width = SHAPES["1.7B"][0]
    hidden = torch.randn(MICRO_BATCH_TOKENS, width, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(VOCABULARY, width, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (MICRO_BATCH_TOKENS,), device=DEVICE)
    project = partial(torch.nn.functional.linear, weight=weight)
    found = {}
    for size in (chunk_tokens(VOCABULARY), 1024, 2048):
        for _ in range(2):
            hidden.grad = weight.grad = None
            torch.cuda.empty_cache()
            before = _gib(is_peak=False)
            _measure_anew()
            started = time.perf_counter()
            chunked_logprobs(project, size, 1.0, hidden, targets).sum().backward()
            peak = _gib() - before
            seconds = time.perf_counter() - started
        found[f"{size} rows: GiB, seconds"] = [peak, seconds]
    return found


def check_loop(zero_stage: str) -> dict[str, Any]:
    """The whole training loop of the tiny model in bfloat16 with the transformers engine: two steps, then resumed for one more."""
    from transformers import AutoTokenizer

    from pipeline_lib.config import load_config
    from pipeline_lib.generation.engines import make_generator
    from pipeline_lib.jobs import TrainJob, write_prompts
    from pipeline_lib.prompts import load_prompts
    from pipeline_lib.runs.base_model import resolve_base_model
    from pipeline_lib.training.loop import train

    folder = Path(tempfile.mkdtemp())
    rows: list[dict[str, Any]] = []
    for steps in (2, 3):
        config = load_config(
            str(REPOSITORY / "configs/smoke.toml"),
            ['generation.engine="transformers"', 'generation.dtype="bfloat16"', "generation.parity_tolerance=0.5",
             'compute.precision="bfloat16"', f"compute.zero_stage={zero_stage}", f"train.steps={steps}", "checkpoint.every_steps=1"],
        )  # fmt: skip
        base = resolve_base_model(config)
        tokenizer = AutoTokenizer.from_pretrained(base.location)
        generator = make_generator(base.location, config.generation, config.max_model_tokens, None, 1)
        write_prompts(folder / "prompts.json", load_prompts(config.prompts))
        assert config.validation
        write_prompts(folder / "validation.json", load_prompts(config.validation.source))
        job = TrainJob(
            run_id="check", config=config, base_folder=base.location, prompts_file=str(folder / "prompts.json"),
            validation_file=str(folder / "validation.json"), rollouts_folder=str(folder / "rollouts"),
            steps_folder=str(folder / "steps"), checkpoints_folder=str(folder / "checkpoints"), resume_step=steps - 1 if rows else 0,
        )  # fmt: skip
        (folder / "steps").mkdir(exist_ok=True)
        train(job, generator, tokenizer, rows.append)
        generator.close()
    done = [row for row in rows if "grad_norm" in row]
    names = {"step": "steps", "grad_norm": "gradient norms", "logprob_gap": "log-prob gaps", "update_seconds": "update, s"}
    return {words: [row[name] for row in done] for name, words in names.items()}


FUNCTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "update": check_update, "accumulation": check_accumulation, "gap": check_gap, "head": check_head, "loop": check_loop
}  # fmt: skip
