"""Judging programs by their tests, in a sandbox.

What holds whatever the program does: tests, expected results and the verdict never enter the program's process. A test
program's asserts run in a process of their own and call the program over a bridge that carries plain builtin values only;
printed output and returned values are compared in the grader. So `sys.exit(0)`, an overridden `==`, patched builtins, or
reading the frames and memory of its own process cannot turn a wrong answer into a pass.

What the kernel enforces (each of it where it can: `sandbox_protections()` tells): a fresh process per program without
capabilities and under a user id of its own, its own process ids, network (none), file system (Python's standard library,
read-only, and a scratch folder in memory), Landlock, a system-call allow-list, limits on wall and CPU time, address space,
output, files and tasks. When a program ends, everything it started is killed before the verdict.

What it does not cover: a hole in the Linux kernel (all programs share it with the host; use a virtual machine for answers of an
adversary), side channels by timing and caches, load on the machine within the limits, and, where namespaces are refused, the
existence and sizes of files, which can still be asked for. Tests that are weak stay weak: a program that passes them passes.
Only the standard library can be imported.
"""

from pipeline_lib.grading.code.extraction import extract_program
from pipeline_lib.grading.code.pool import judge_programs, sandbox_protections
from pipeline_lib.grading.code.specifications import TEST_FORMATS
from pipeline_lib.grading.code.verdicts import CodeVerdict, SandboxLimits

__all__ = ["TEST_FORMATS", "CodeVerdict", "SandboxLimits", "extract_program", "judge_programs", "sandbox_protections"]
