"""Ray as howto/ray-clusters.md starts it, on two network namespaces of this machine; SLURM's own programs are stood in for."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from documented import blocks_of
from driving import QUICK, REPOSITORY, environment, sql, wait_until_no_process_is_left

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.getuid() != 0 or not shutil.which("ip"), reason="network namespaces take root and iproute2"),
]

PAGE = "howto/ray-clusters.md"
# Of four CPUs two are on each node: one has ranks only, the other a rank and the generator.
SPREAD = ["--set", "train.prompts_per_step=6", "--set", "prompts.num_prompts=18", "--set", "compute.num_processes=3"]
FIXED = {6379, 6380, 6381, 6382, 6383, 6384, 6385, 10001, 44217}
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
for node in 0 1; do SLURM_NODEID=$node ip netns exec "$NETWORK$node" "$@" & done
trap 'kill -TERM $(jobs -p)' TERM
wait
wait
"""
SCONTROL = """#!/bin/bash
echo "$@" >>"$CALLS"
"""


class Machines:
    """Two nodes, each with a network of its own, joined by a cable; disk and processes are this machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.network = folder, f"laconic{os.getpid()}-"
        self.home, self.calls, self.temporary = folder / "shared", folder / "calls", tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        programs = folder / "bin"
        programs.mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        self.environment = environment(self.home) | {
            "PATH": f"{programs}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "RAY_TMPDIR": self.temporary,
            "NETWORK": self.network,
            "CALLS": str(self.calls),
        }
        self.environment.pop("PREFECT_API_URL", None)
        cable = [f"lac{os.getpid()}{end}" for end in "ab"]
        ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1])
        for node, end in enumerate(cable):
            ip("netns", "add", self.name(node))
            ip("link", "set", end, "netns", self.name(node), "name", "ib0")
            ip("-n", self.name(node), "addr", "add", f"10.0.0.{node + 1}/24", "dev", "ib0")
            for interface in ("ib0", "lo"):
                ip("-n", self.name(node), "link", "set", interface, "up")

    def name(self, node: int) -> str:
        return f"{self.network}{node}"

    def start(self, node: int, *command: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start something on a node, in a process group of its own."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name(node), *command],
            cwd=REPOSITORY,
            env=self.environment | variables,
            start_new_session=True,
            stdout=open(self.folder / "printed", "ab"),
            stderr=subprocess.STDOUT,
        )

    def run(self, node: int, script: str) -> int:
        return self.start(node, "bash", "-euc", script).wait(timeout=500)

    def printed(self) -> str:
        return (self.folder / "printed").read_text()[-6000:]

    def listening(self, node: int) -> set[int]:
        """The ports on which something of a node listens."""
        command = ["ip", "netns", "exec", self.name(node), "cat", "/proc/net/tcp", "/proc/net/tcp6"]
        lines = [line.split() for line in subprocess.check_output(command, text=True).splitlines()]
        return {int(words[1].split(":")[1], 16) for words in lines if words[3] == "0A"}

    def processes(self, node: int) -> list[psutil.Process]:
        pids = [int(pid) for pid in ip("netns", "pids", self.name(node)).split()]
        return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]

    def names(self, node: int) -> list[str]:
        """The command lines of what runs on a node."""
        found = []
        for process in self.processes(node):
            with suppress(psutil.Error):
                found.append(" ".join(process.cmdline()))
        return found

    def end(self) -> None:
        """End what runs on the nodes."""
        left = [*self.processes(0), *self.processes(1)]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)

    def remove(self) -> None:
        self.end()
        for node in (0, 1):
            ip("netns", "delete", self.name(node))
        shutil.rmtree(self.temporary, ignore_errors=True)


def ip(*words: str) -> str:
    return subprocess.check_output(["ip", *words], text=True)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    made = Machines(tmp_path)
    yield made
    made.remove()


def test_two_nodes_by_hand(machines: Machines) -> None:
    """The page's blocks as they are, but for the home, the configuration, and `ray stop`, which ends every cluster of the machine."""
    blocks = [
        block.code.replace("/shared/laconic", str(machines.home)) for block in blocks_of(PAGE) if block.mark == "elsewhere"
    ]
    settings, token, head, second, run = blocks
    assert machines.run(0, settings + token + head) == 0, machines.printed()
    assert (machines.folder / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    assert machines.run(1, settings + second) == 0, machines.printed()
    for node in (0, 1):
        others = {port for port in machines.listening(node) - FIXED if not 10002 <= port <= 10999}
        assert others == set(), "every port is one that the page names"
    address = "10.0.0.1:6379"
    assert machines.run(1, f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN=other ray status --address {address}") != 0
    shown = "configs/qwen3-8b.toml --set fleet.generators=8"
    assert f"laconic run {shown}" in run
    run = run.replace(shown, f"configs/smoke.toml {shlex.join([*QUICK, *SPREAD])}")
    job, ranks = machines.start(0, "bash", "-euc", settings + run), set[int]()
    while job.poll() is None:
        ranks |= {node for node in (0, 1) if any("ray::TrainerActor" in name for name in machines.names(node))}
        time.sleep(1)
    assert job.returncode == 0, machines.printed()
    assert [row["status"] for row in sql(machines.home, "select status from runs")] == ["completed"]
    assert ranks == {0, 1}


def test_a_slurm_job_ends_in_order_is_queued_again_and_goes_on(machines: Machines) -> None:
    def start(times: int) -> subprocess.Popen[bytes]:
        variables = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "2", "INTERFACE": "ib0"}
        words = ["bash", "docker/slurm.sbatch", "configs/smoke.toml", *QUICK, "--set", "fleet.generators=2"]
        return machines.start(0, *words, **variables, SLURM_RESTART_COUNT=str(times))

    def statuses() -> list[str]:
        return [row["status"] for row in sql(machines.home, "select status from runs")]

    def wait_until(condition: Callable[[], object]) -> None:
        until = time.monotonic() + 600
        while not condition():
            assert time.monotonic() < until and job.poll() is None, machines.printed()
            time.sleep(0.5)

    # The time limit is near: the batch shell alone is told.
    job = start(0)
    wait_until(lambda: list(machines.home.glob("checkpoints/*/*")))
    os.kill(job.pid, signal.SIGUSR1)
    assert job.wait(timeout=120) == 143, machines.printed()
    assert statuses() == ["cancelled"], machines.printed()
    assert machines.calls.read_text() == "requeue 7\n"
    wait_until_no_process_is_left(machines.home)
    # Cancelled: everything of the job is told at once, Ray too, and the run may not come to note its end: the next command does.
    job = start(1)
    wait_until(lambda: statuses() == ["running"])
    os.killpg(job.pid, signal.SIGTERM)
    assert job.wait(timeout=30) == 143, machines.printed()
    assert machines.calls.read_text() == "requeue 7\n", "not queued again"
    wait_until_no_process_is_left(machines.home)
    assert start(2).wait(timeout=500) == 0, machines.printed()
    assert statuses() == ["completed"]
    steps = sql(machines.home, "select step from training_steps order by step")
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert not list(machines.home.glob("slurm-*/token"))
    wait_until_no_process_is_left(machines.home)
