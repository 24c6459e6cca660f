"""One test per attack on the code sandbox: the right reason, no process left, no folder left, with and without namespaces."""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline_lib.grading.code import CodeVerdict, SandboxLimits, judge_programs
from pipeline_lib.grading.code.judges import Bench, judge
from pipeline_lib.grading.code.pool import probe_protections, sandbox_pool
from pipeline_lib.grading.code.sandbox import seccomp
from pipeline_lib.grading.code.sandbox.confinement import private_uid
from pipeline_lib.grading.code.sandbox.syscall_numbers import number_of
from pipeline_lib.grading.code.specifications import parse_tests
from pipeline_lib.grading.code.zygote_process import ZygoteProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux's means")

REPOSITORY = Path(__file__).resolve().parents[2]
SAFE = json.dumps({"type": "stdin", "cases": [{"input": "1 2\n", "output": "safe\n"}]})
SECRET_RESULT = "the-secret-result-4711"
FUNCTION = json.dumps({"type": "function", "entry_point": "f", "cases": [{"input": "2", "output": json.dumps(SECRET_RESULT)}]})
CHECK = json.dumps(
    {
        "type": "program",
        "entry_point": "f",
        "preamble": "",
        "code": f"def check(candidate):\n    assert candidate(2) == {SECRET_RESULT!r}\n    assert not candidate(3) == 7\n",
    }
)
SMALL = SandboxLimits(memory_bytes=256 << 20, output_bytes=1 << 20, file_bytes=1 << 20, scratch_bytes=2 << 20, num_tasks=16)
WITH_PROCESSES = SandboxLimits(memory_bytes=256 << 20, num_tasks=16, allow_processes=True)


class Sandbox:
    """A sandbox process of the test's own, and what it leaves behind."""

    def __init__(self, use_namespaces: bool) -> None:
        self.zygote = ZygoteProcess(use_namespaces=use_namespaces)
        self.protections = probe_protections(self.zygote)

    def judge(
        self, program: str, tests: str = SAFE, timeout_seconds: float = 5.0, limits: SandboxLimits = SMALL
    ) -> CodeVerdict:
        uids = private_uid(os.getpid(), 40), private_uid(os.getpid(), 41)
        verdict = judge(program, parse_tests(tests), Bench(self.zygote, self.zygote, limits, timeout_seconds, *uids))
        assert self.num_processes() == 1, "a process of the program was left"
        assert self.folders() == [], "a folder of the program was left"
        return verdict

    def num_processes(self) -> int:
        return len(psutil.Process(self.zygote.process.pid).children(recursive=True))

    def folders(self) -> list[str]:
        base = self.zygote._scratch_base
        return os.listdir(base) if base is not None else []


@pytest.fixture(scope="module", params=["namespaces", "plain"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    sandbox = Sandbox(request.param == "namespaces")
    yield sandbox
    sandbox.zygote.close()
    assert not sandbox.zygote._scratch_base or not os.path.exists(sandbox.zygote._scratch_base)


def skip_without(sandbox: Sandbox, *names: str) -> None:
    for name in names:
        if not sandbox.protections[name]:
            pytest.skip(f"this kernel or this mode gives no {name}")


STDIN_ATTACKS = {
    "fork": ("import os\nos.fork()\nprint('safe')", "runtime_error"),
    "subprocess": ("import subprocess\nsubprocess.run(['/bin/true'])\nprint('safe')", "runtime_error"),
    "memory bomb at once": ("x = bytearray(1 << 40)\nprint('safe')", "memory_limit"),
    "memory bomb by and by": ("x = []\nwhile True:\n    x.append(bytearray(10 << 20))", "memory_limit"),
    "memory bomb in scratch": ("""\
for i in range(99):
    open(str(i), 'wb').write(bytes(1 << 20))
print('safe')""", "runtime_error"),
    "memory bomb in anonymous files": ("import os\nos.memfd_create('x')", "runtime_error"),
    "large file": ("open('x', 'wb').write(bytes(2 << 20))\nprint('safe')", "runtime_error"),
    "endless output": ("while True:\n    print('x' * 1000)", "output_limit"),
    "endless loop": ("while True:\n    pass", "timeout"),
    "endless loop that catches everything": ("""\
while True:
    try:
        while True: pass
    except BaseException: pass""", "timeout"),
    "sleeping for ever": ("import time\ntime.sleep(1e6)", "timeout"),
    "ignoring signals": ("""\
import signal
for n in range(1, 32):
    try: signal.signal(n, signal.SIG_IGN)
    except OSError: pass
while True: pass""", "timeout"),
    "closing output, then looping": ("import os\nos.close(1)\nwhile True: pass", "timeout"),
    "closing output": ("import os\nprint('safe', flush=True)\nos.close(1)", "correct"),
    "closing everything": ("import os\nos.closerange(0, 256)\nprint('safe')", "wrong"),
    "reading past the end": ("input()\ninput()\nprint('safe')", "runtime_error"),
    "exit code": ("import os\nprint('safe', flush=True)\nos._exit(3)", "runtime_error"),
    "crash": ("import ctypes\nctypes.string_at(0)", "runtime_error"),
    "socket": ("import socket\nsocket.socket()\nprint('safe')", "runtime_error"),
    "connect": ("""\
import urllib.request
urllib.request.urlopen('http://127.0.0.1:80', timeout=1)
print('safe')""", "runtime_error"),
    "too many files": ("x = [open(0, closefd=False)] + [open('x', 'w') for _ in range(100)]\nprint('safe')", "runtime_error"),
    "thread bomb": ("""\
import threading, time
threading.stack_size(32768)
for _ in range(40000):
    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
print('safe')""", "runtime_error"),
    "symlink out of scratch": ("import os\nos.symlink('/etc/passwd', 'x')\nopen('x').read()\nprint('safe')", "runtime_error"),
    "environment": ("import os\nprint('safe' if not os.environ else os.environ)", "correct"),
    "surrogates": ("print('\\ud800')", "runtime_error"),
    "bytes that are no text": ("import os\nos.write(1, b'\\xff\\xfe')", "wrong"),
    "deep recursion": ("def f(): return f()\nf()", "runtime_error"),
}  # fmt: skip


@pytest.mark.parametrize("name", STDIN_ATTACKS)
def test_attack_of_a_script(sandbox: Sandbox, name: str) -> None:
    if name == "memory bomb in scratch":
        # On the host's disk only one file is bounded, and their number by the inode table alone.
        skip_without(sandbox, "mount_namespace")
    if name == "thread bomb" and not sandbox.protections["task_limit"]:
        pytest.skip("without a task limit only memory bounds the number of threads")
    program, reason = STDIN_ATTACKS[name]
    verdict = sandbox.judge(program, timeout_seconds=0.4 if reason == "timeout" else 10.0)
    assert verdict.reason == reason, verdict


def test_files_of_others_cannot_be_read_or_written(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("safe")
    for folder in [tmp_path, *tmp_path.parents][:4]:
        folder.chmod(0o755)
    secret.chmod(0o666)
    for attack in (
        f"print(open({str(secret)!r}).read())",
        f"print('safe' if open('/proc/{os.getpid()}/environ').read() else '')",
        f"print('safe' if open('/proc/{os.getpid()}/cmdline').read() else '')",
        "import os\nprint('safe' if os.listdir('/proc/self/fd') else '')",
        "import os\nprint('safe' if os.listdir('/tmp' if os.getcwd() != '/tmp' else '/home') else '')",
        f"open({str(secret)!r}, 'w').write('x')\nprint('safe')",
        f"open({str(tmp_path / 'new')!r}, 'w')\nprint('safe')",
        f"import os\nos.unlink({str(secret)!r})\nprint('safe')",
        f"import os\nos.chmod({str(secret)!r}, 0)\nprint('safe')",
        f"import os\nos.symlink({str(tmp_path)!r}, 'x')\nopen('x/new', 'w')\nprint('safe')",
        f"import os\nos.link({str(secret)!r}, 'x')\nprint(open('x').read())",
        "open(__import__('os').__file__, 'a')\nprint('safe')",
    ):
        verdict = sandbox.judge(attack)
        assert verdict.reason == "runtime_error", (attack, verdict)
    assert os.listdir(tmp_path) == ["secret.txt"] and secret.read_text() == "safe" and secret.stat().st_mode & 0o777 == 0o666


def test_link_in_scratch_is_not_followed_when_it_is_removed(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("kept")
    verdict = sandbox.judge(f"import os\nos.mkdir('a')\nos.symlink({str(tmp_path)!r}, 'a/x')\nprint('safe')")
    assert verdict.reason == "correct" and (tmp_path / "keep").read_text() == "kept"


def test_nobody_else_can_be_killed(sandbox: Sandbox) -> None:
    victim = subprocess.Popen(["sleep", "60"])
    pids = [victim.pid, os.getpid(), sandbox.zygote.process.pid, -1, 0, 1]
    program = f"import os\nfor pid in {pids}:\n    try: os.kill(pid, 9)\n    except OSError: pass\nprint('safe')"
    try:
        assert sandbox.judge(program).reason == "correct"
        assert victim.poll() is None and sandbox.zygote.alive
    finally:
        victim.kill()
        victim.wait()


def test_dangerous_system_calls_are_refused(sandbox: Sandbox) -> None:
    skip_without(sandbox, "seccomp")
    numbers = {
        "x86_64": "ptrace=101 unshare=272 mount=165 keyctl=250 bpf=321 io_uring=425 process_vm_readv=310 userfaultfd=323"
    }
    numbers["aarch64"] = "ptrace=117 unshare=97 mount=40 keyctl=219 bpf=280 io_uring=425 process_vm_readv=270 userfaultfd=282"
    calls = [int(pair.split("=")[1]) for pair in numbers[os.uname().machine].split()]
    program = (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfailed = []\n"
        f"for number in {calls}:\n    if libc.syscall(number, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1: failed.append(number)\n"
        "print(failed or 'safe')"
    )
    verdict = sandbox.judge(program)
    assert verdict.reason == "correct", verdict


def test_fork_bomb_is_bounded_and_ended(sandbox: Sandbox) -> None:
    skip_without(sandbox, "task_limit", "pid_namespace")
    # First that the cap holds, with a loop that is no bomb.
    counting = """\
import os, time
n = 0
try:
    for _ in range(50):
        if os.fork() == 0: time.sleep(9)
        n += 1
except OSError: pass
print('safe' if 0 < n < 16 else n)"""
    assert sandbox.judge(counting, limits=WITH_PROCESSES).reason == "correct"
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    assert sandbox.judge(bomb, timeout_seconds=0.5, limits=WITH_PROCESSES).reason == "timeout"


def test_daemonised_grandchild_is_ended(sandbox: Sandbox) -> None:
    skip_without(sandbox, "pid_namespace", "task_limit")
    program = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        for fd in range(64):\n"
        "            try: os.close(fd)\n            except OSError: pass\n        time.sleep(60)\n    os._exit(0)\nos.wait()\nprint('safe')"
    )
    verdict = sandbox.judge(program, limits=WITH_PROCESSES)
    assert verdict.reason == "correct", verdict


FUNCTION_ATTACKS = {
    "sys.exit at once": ("import sys\nsys.exit(0)", "runtime_error"),
    "os._exit at once": ("import os\nos._exit(0)", "runtime_error"),
    "sys.exit in the call": ("import sys\ndef f(x): sys.exit(0)", "runtime_error"),
    "os._exit in the call": ("import os\ndef f(x): os._exit(0)", "runtime_error"),
    "SIGKILL to itself": ("import os\ndef f(x): os.kill(os.getpid(), 9)", "runtime_error"),
    "overridden ==": ("""\
class Yes:
    def __eq__(self, other): return True
    __hash__ = None
def f(x): return Yes()""", "wrong"),
    "overridden == of a str": ("""\
class Yes(str):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = str.__hash__
def f(x): return Yes('x')""", "wrong"),
    "a class that lies about its type": ("""\
class Yes:
    @property
    def __class__(self): return str
    def __eq__(self, other): return True
def f(x): return Yes()""", "wrong"),
    "patched builtins": ("""\
import builtins
builtins.AssertionError = Exception
builtins.bool = lambda x: True
builtins.isinstance = lambda *a: True
builtins.len = lambda x: 0
def f(x): return 1""", "any failure"),
    "patched harness": ("""\
import sys
for name, module in list(sys.modules.items()):
    if name.startswith('sandbox'):
        for key, value in list(vars(module).items()):
            if callable(value) and key not in ('read_frame', 'write_frame', 'serve'): setattr(module, key, lambda *a, **k: True)
def f(x): return 1""", "any failure"),
    "forged verdicts": ("""\
import json, os, struct
p = json.dumps({'reason': 'correct', 'detail': '', 'num_passed': 1, 'num_tests': 1}).encode()
for fd in range(256):
    try: os.write(fd, struct.pack('>I', len(p)) + p)
    except OSError: pass
def f(x): return 1""", "runtime_error"),
    "forged replies": ("""\
import json, os, struct
for reply in ({'ready': True}, {'value': [{'h': 0}]}, {'value': 0}, {'value': 0}):
    p = json.dumps(reply).encode()
    for fd in range(256):
        try: os.write(fd, struct.pack('>I', len(p)) + p)
        except OSError: pass
def f(x): return 1""", "any failure"),
    "noise on every descriptor": ("""\
import os
for fd in range(256):
    try: os.write(fd, os.urandom(64))
    except OSError: pass
def f(x): return 1""", "any failure"),
    "expected results in memory": ("""\
import gc, re, sys
def f(x):
    texts = [repr(o) for o in gc.get_objects() if isinstance(o, (list, dict, tuple, set))]
    frame = sys._getframe()
    while frame:
        texts += [repr(frame.f_locals), repr(frame.f_globals)]
        frame = frame.f_back
    found = re.findall(r'the-secret-result-[0-9]+', ' '.join(texts))
    return found[0] if found else None""", "wrong"),
    "huge integer": ("def f(x): return 10 ** 300000", "wrong"),
    "huge result": ("def f(x): return 'x' * (4 << 20)", "output_limit"),
    "endless iterator": ("import itertools\ndef f(x): return itertools.count()", "wrong"),
    "deep structure": ("def f(x):\n    a = []\n    for _ in range(100000): a = [a]\n    return a", "runtime_error"),
    "cycle": ("def f(x):\n    a = []\n    a.append(a)\n    return a", "runtime_error"),
    "recursion": ("def f(x): return f(x)", "runtime_error"),
    "memory bomb in the call": ("def f(x): return len(bytearray(1 << 40))", "memory_limit"),
    "endless loop in the call": ("def f(x):\n    while True: pass", "timeout"),
    "endless loop at once": ("while True: pass", "timeout"),
    "an exception that fights back": ("""\
class Bad(BaseException):
    def __str__(self): raise Bad
    __repr__ = __str__
def f(x): raise Bad""", "runtime_error"),
    "reference not defined": ("def g(x): return 1", "runtime_error"),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTION_ATTACKS)
@pytest.mark.parametrize("tests", [FUNCTION, CHECK], ids=["function", "check"])
def test_attack_of_a_function(sandbox: Sandbox, tests: str, name: str) -> None:
    program, reason = FUNCTION_ATTACKS[name]
    verdict = sandbox.judge(program, tests, timeout_seconds=0.4 if reason == "timeout" else 10.0)
    if reason == "any failure":
        assert verdict.reason in ("wrong", "runtime_error", "output_limit"), verdict
    else:
        assert verdict.reason == reason, verdict
    assert verdict.num_passed == 0


def test_huge_shared_structure_is_cut_off() -> None:
    program = "def f(x):\n    a = []\n    for _ in range(40): a = [a, a]\n    return a"
    (verdict,) = judge_programs([program], [FUNCTION], 10.0)
    assert verdict.reason == "output_limit", verdict


def test_forged_message_of_millions_of_objects_is_not_parsed() -> None:
    program = (
        "import os, struct\np = b'[' + b'[],' * 5000000 + b'[]]'\nview = memoryview(struct.pack('>I', len(p)) + p)\n"
        "def f(x):\n    global view\n    while view: view = view[os.write(5, view):]"
    )
    for verdict in judge_programs([program] * 2, [FUNCTION, CHECK], 10.0):
        assert verdict.reason == "output_limit", verdict


def test_truth_of_an_odd_object_does_not_pass_a_comparison(sandbox: Sandbox) -> None:
    code = "assert f() > 3 or not f() <= 3, 'compared'\n"
    tests = json.dumps({"type": "program", "entry_point": "f", "preamble": "", "code": code})
    program = "class Any:\n    __gt__ = __le__ = __lt__ = __ge__ = lambda self, other: True\ndef f(): return Any()"
    assert sandbox.judge(program, tests).reason == "wrong"


def test_tests_are_not_in_the_memory_of_a_later_program(sandbox: Sandbox) -> None:
    """The process that forks programs has read none of them: nothing of an earlier one is inherited."""
    assert sandbox.judge(f"def f(x): return {SECRET_RESULT!r}", FUNCTION).reason == "correct"
    program, reason = FUNCTION_ATTACKS["expected results in memory"]
    assert sandbox.judge(program, FUNCTION).reason == reason


def run_filter(instructions: bytes, architecture: int, number: int, *arguments: int) -> str:
    """What a seccomp filter says to a system call: a small interpreter of the instructions it uses."""
    data = struct.pack(
        "=IIQ6Q", number, architecture, 0, *[value & (1 << 64) - 1 for value in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    )
    program = [struct.unpack_from("=HBBI", instructions, offset) for offset in range(0, len(instructions), 8)]
    accumulator = place = 0
    while True:
        code, if_true, if_false, value = program[place]
        place += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            return {0x7FFF0000: "allow", 0x80000000: "kill", 0x00050001: "EPERM", 0x00050026: "ENOSYS"}[value]
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            place += if_true if holds else if_false


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)])
@pytest.mark.parametrize("allow_processes", [False, True])
def test_filter_of_system_calls(machine: str, architecture: int, allow_processes: bool) -> None:
    instructions = seccomp.build_filter(machine, 2, allow_processes)

    def decide(name: str, *arguments: int) -> str:
        number = number_of(name, machine)
        assert number is not None
        return run_filter(instructions, architecture, number, *arguments)

    processes = "allow" if allow_processes else "EPERM"
    assert {decide(name) for name in ("read", "write", "openat", "mmap", "futex", "exit_group", "getrandom")} == {"allow"}
    thread, new_user, new_network = 0x3D0F00, 0x10000000, 0x40000000
    assert decide("clone", thread) == "allow" and decide("clone", 17) == processes and decide("clone3") == "ENOSYS"
    assert decide("clone", thread | new_user) == decide("clone", 17 | new_network) == "EPERM"
    assert decide("execve") == decide("setsid") == processes
    assert (
        decide("kill", 2, 9) == "allow"
        and decide("kill", 1, 9) == decide("kill", -1, 9) == decide("tgkill", 7, 7, 9) == processes
    )
    assert decide("socketpair", 1, 1 | 0o2000000) == "allow"
    assert decide("socketpair", 1, 2) == decide("socketpair", 2, 1) == "EPERM"
    assert decide("sendto", 3, 0, 0, 0, 0) == "allow"
    assert decide("sendto", 3, 0, 0, 0, 1) == decide("sendto", 3, 0, 0, 0, 1 << 40) == "EPERM"
    assert decide("ioctl", 0, 0x5401) == "allow" and decide("ioctl", 0, 0x5412) == "EPERM"
    assert decide("prlimit64", 0) == decide("prlimit64", 2) == "allow" and decide("prlimit64", 1) == "EPERM"
    refused = {
        "x86_64": (41, 42, 101, 165, 272, 310, 321, 425, 435 + 100),
        "aarch64": (198, 203, 117, 40, 97, 270, 280, 425, 535),
    }
    assert {run_filter(instructions, architecture, number) for number in refused[machine]} == {"EPERM"}
    assert run_filter(instructions, architecture ^ 1, 0) == "kill"
    if machine == "x86_64":
        assert run_filter(instructions, architecture, 0x40000000) == "kill"


def test_killed_sandbox_is_replaced_and_nothing_is_lost() -> None:
    pool = sandbox_pool("process")
    first = pool.zygote()
    killer = threading.Timer(0.4, lambda: os.kill(first.process.pid, signal.SIGKILL))
    killer.start()
    verdicts = judge_programs(["import time\ntime.sleep(0.8)\nprint('safe')"] * 3, [SAFE] * 3)
    assert [verdict.reason for verdict in verdicts] == ["correct"] * 3
    assert pool.zygote() is not first and not first.alive


def test_killed_grader_leaves_nothing_behind() -> None:
    program = "while True: pass"
    script = (
        "import threading\nfrom pipeline_lib.grading.code import judge_programs\nfrom pipeline_lib.grading.code.pool import sandbox_pool\n"
        "print(sandbox_pool('process').zygote().process.pid, flush=True)\n"
        f"judge_programs([{program!r}], [{SAFE!r}], 60.0)"
    )
    grader = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert grader.stdout is not None
    zygote = psutil.Process(int(grader.stdout.readline()))
    time.sleep(0.5)
    family = [zygote, *zygote.children(recursive=True)]
    assert len(family) >= 4, "the endless program runs"
    grader.kill()
    grader.wait()
    _, alive = psutil.wait_procs(family, timeout=8)
    assert not alive
