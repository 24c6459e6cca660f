"""`laconic work`: a Prefect worker in the foreground that ends its flows in good order before it ends itself."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flows.server.environment import SHOWN
from flows.server.up import SERVICE_GRACE_SECONDS, WATCH_SECONDS, end_flows, told_to_end
from pipeline_lib.config.shipped import PROJECT
from pipeline_lib.processes import end_in_order, end_with_this_process


def work_until_told(home: Path, settle: bool, say: Callable[[str], None]) -> int:
    """Run a worker until SIGINT or SIGTERM, or until it ends by itself; returns its exit status, 0 when it was terminated."""
    from flows.server.deploy import POOL
    from flows.server.reconcile import reconcile_home

    if settle:
        reconcile_home(home, say)
    # By this name a container's health check knows its worker.
    name = ["--name", socket.gethostname()]
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", *name]
    with told_to_end() as told:
        # A session of its own: Ctrl-C must not reach the worker, which would leave its flows to themselves.
        worker = subprocess.Popen(
            command, cwd=PROJECT, env={**os.environ, **SHOWN}, start_new_session=True, preexec_fn=end_with_this_process()
        )
        while worker.poll() is None and not told:
            time.sleep(WATCH_SECONDS)
        if not told:
            return worker.returncode or 0
        say("ending flows and worker ...")
        end_flows(worker.pid)
        end_in_order(worker, SERVICE_GRACE_SECONDS)
    if settle:  # a flow that is terminated notes it in the store, but may not get to tell the server
        reconcile_home(home, say)
    return 0
