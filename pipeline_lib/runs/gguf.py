"""A model folder from a GGUF file, as llama.cpp's community shares models: weights dequantised, tokenizer and chat template kept."""

from pathlib import Path
from typing import Any, Literal

from pipeline_lib.files.whole_files import replacing


def import_gguf(file: Path, folder: Path, dtype: Literal["float32", "bfloat16", "float16"] = "float32") -> dict[str, Any]:
    """Write the model of a GGUF file as a folder that `base_model` takes; returns what it holds.

    The folder appears whole or not at all. Weights of 4 or 8 bits are stored as the numbers that they stand for, which float32
    holds exactly. Raises ValueError when the folder exists, or the file is none that transformers can read.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists already: remove it, or name another folder")
    if not file.is_file():
        raise ValueError(f"no file {file}")
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ValueError("reading GGUF needs the package gguf: pip install 'laconic[gguf]'") from error
    tokenizer, model = _read(file, dtype)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return {
        "folder": str(folder),
        "architecture": model.config.model_type,
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "context_tokens": model.config.max_position_embeddings,
        "end_token": tokenizer.eos_token,
        "chat_template": bool(tokenizer.chat_template),
    }


def _read(file: Path, dtype: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=getattr(torch, dtype))
    except Exception as error:  # the reader raises whatever a broken file makes of it
        raise ValueError(f"{file} cannot be read as the GGUF file of a model: {error}") from error
    # What says that the weights are quantised: they are not any more, and transformers refuses to store a model that says so.
    model.hf_quantizer = None
    del model.config.quantization_config
    return tokenizer, model
