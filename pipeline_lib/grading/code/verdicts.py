"""The verdict on a program, and the limits it runs under."""

from dataclasses import dataclass
from typing import Literal

Reason = Literal["correct", "wrong", "runtime_error", "timeout", "memory_limit", "output_limit", "error"]


@dataclass(frozen=True)
class CodeVerdict:
    """What came of one program.

    `reason`: correct; wrong (a result differs); runtime_error (it raised, died, or defines no such function); timeout (wall or
    CPU time); memory_limit; output_limit; error (the grader or the tests failed: says nothing about the program).
    `seconds` is wall time; `num_passed` of `num_tests` counts up to the first failure, where judging stops.
    """

    reason: Reason
    seconds: float
    detail: str
    num_passed: int
    num_tests: int


@dataclass(frozen=True)
class SandboxLimits:
    """What one program's processes may use.

    `memory_bytes` is address space (each process); `output_bytes` bounds standard output and every returned value; `file_bytes`
    one file, `scratch_bytes` all files together; `num_tasks` threads and processes together. Processes are refused altogether
    unless `allow_processes`, which takes effect only where the kernel gives namespaces and a task limit.
    """

    memory_bytes: int = 1 << 30
    output_bytes: int = 16 << 20
    file_bytes: int = 16 << 20
    scratch_bytes: int = 64 << 20
    num_open_files: int = 64
    num_tasks: int = 64
    allow_processes: bool = False

    def __post_init__(self) -> None:
        smallest = {"memory_bytes": 128 << 20, "output_bytes": 1, "file_bytes": 0, "scratch_bytes": 4096, "num_open_files": 16}
        smallest["num_tasks"] = 1
        for name, minimum in smallest.items():
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} = {getattr(self, name)} is not allowed: need at least {minimum}")
