"""Seconds from `laconic run` to the end of the first training step, and what they go into.

    python benchmarks/start_up.py [REPEATS]     # 3 smoke runs of half a minute on two cores, no network, no GPU

Each run has a home of its own, so that nothing is there yet: neither databases nor rollouts. The moments are those at which the files of a
run appear. The target is half of what the same took before work on it began (19.0 s on two idle cores, measured).
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import median

from targets import Targets

REPOSITORY = Path(__file__).resolve().parents[1]
TARGET_SECONDS = 9.5
# By which file a moment is known; the worker starts at the first, beside all that comes before the second.
MOMENTS = {
    "the command's imports; the worker is started": "workers/*/process.json",
    "the temporary Prefect server, the flow, MLflow's database": "workers/*/0000.json",
    "the profile (with the engine's rest, its proof)": "workers/*/0000.result.json",
    "what is stored; the filter": "workers/*/0001.json",
    "the first step (with the trainer's model)": "training/*/steps/step-00001.json",
}
ENGINE = "of these, the worker's start to its engine's end, beside"


def measure() -> dict[str, float]:
    """Seconds of each part of one run."""
    with tempfile.TemporaryDirectory() as folder:
        home, started = Path(folder), time.time()
        # A step is told apart from the next by being the first.
        subprocess.run(
            [sys.executable, "-m", "flows.cli", "run", "configs/smoke.toml", "--set", "train.steps=3"],
            cwd=REPOSITORY, env=os.environ | {"LACONIC_HOME": folder}, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        at = [min(path.stat().st_mtime for path in home.glob(pattern)) for pattern in MOMENTS.values()]
        log = next(home.glob("workers/*/log.txt")).read_text(encoding="utf-8", errors="replace")
        ready = re.search(r"^(\S+ \S+),\d+ .*engine ready after", log, re.MULTILINE)
        assert ready, log[-2000:]
        engine = datetime.strptime(ready[1], "%Y-%m-%d %H:%M:%S").timestamp() - at[0]
        parts = {name: end - begin for name, begin, end in zip(MOMENTS, [started, *at], at, strict=False)}
        return {**parts, ENGINE: engine}


def main() -> None:
    """Measure and print; ends with 1 where the target is missed by more than a tenth."""
    runs = [measure() for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)]
    for part in runs[0]:
        print(f"{part:62} {median(run[part] for run in runs):6.2f} s")
    targets = Targets()
    targets.check(
        "laconic run to the end of the first step", median(sum(run[part] for part in MOMENTS) for run in runs), TARGET_SECONDS
    )
    targets.exit()


if __name__ == "__main__":
    main()
