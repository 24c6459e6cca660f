"""Drives the command line as a user does: in a process of its own, with a home of its own."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from pipeline_lib.store.database import Store

REPOSITORY = Path(__file__).resolve().parents[2]
LACONIC = [sys.executable, "-m", "flows.cli"]
# Without vLLM, and with room for prompts by which nobody needs to count their tokens: importing transformers takes seconds.
LIGHT = ('generation.engine="transformers"', "generation.max_prompt_tokens=1024")
# What makes configs/smoke.toml a run of all stages in seconds.
QUICK = [
    word
    for setting in (
        *LIGHT,
        *('filter.subset="all"', "prompts.num_prompts=16", "profile.num_rollouts=2"),
        *("profile.rollout_limit_tokens=48", "train.steps=6", "train.prompts_per_step=4", "train.num_rollouts=4"),
        *("train.rollout_limit_tokens=32", "reward.target_tokens=32", "checkpoint.every_steps=3", "train.measure_kl=false"),
        *("evaluate.budgets_tokens=[24, 48]", "validation.source.num_prompts=4"),
    )
    for word in ("--set", setting)
]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "LACONIC_HOME": str(home), "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}


def laconic(home: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*LACONIC, *arguments], env=environment(home), cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=500
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def sql(home: Path, query: str) -> list[dict[str, Any]]:
    """Rows of the store, read in this process: a command for each look would take the cores from what is waited for."""
    result = Store(home).query(query)
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def moved_copy(home: Path, copy: Path) -> Path:
    """A copy of a home in another folder, in which commands go on from what is stored; returns it."""
    shutil.copytree(home, copy)
    laconic(copy, "relocate", str(home))
    return copy


def wait_until_file(process: subprocess.Popen[bytes], home: Path, pattern: str) -> None:
    """Wait, while a process runs, until a file of this pattern is there."""
    deadline = time.monotonic() + 300
    while not list(home.glob(pattern)):
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_until_no_process_is_left(home: Path) -> None:
    """Launcher, ranks and the temporary Prefect server all carry the home in their environment."""
    deadline = time.monotonic() + 30
    while left := processes_of(home):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.2)


def processes_of(home: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("LACONIC_HOME") == str(home):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
