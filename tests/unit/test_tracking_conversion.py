"""Plain values in MLflow's form."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np

from pipeline_lib.tracking.conversion import PARAM_VALUE_LENGTH, as_tags, flatten_params, folder_digest, numeric_metrics


def test_only_finite_numbers_become_metrics_under_allowed_names() -> None:
    row = {
        "run_id": "a",
        "kl": None,
        "loss": math.nan,
        "grad_norm": math.inf,
        "accuracy@48": np.float32(0.5),
        "steps": 3,
        "best": True,
    }
    assert numeric_metrics(row) == [("accuracy_48", 0.5), ("steps", 3.0), ("best", 1.0)]


def test_params_are_flattened_and_cut() -> None:
    tree = {"train": {"steps": 40, "adam_betas": (0.9, 0.99), "source": {"name": "x"}}, "uri": None, "long": "y" * 9000}
    flat = flatten_params(tree)
    assert flat == {
        "train.steps": "40",
        "train.adam_betas": "[0.9, 0.99]",
        "train.source.name": "x",
        "long": "y" * PARAM_VALUE_LENGTH,
    }


def test_tags_leave_none_out() -> None:
    assert as_tags({"step": 4, "prefect.flow_run_id": None}) == {"step": "4"}


def test_digest_follows_names_and_contents(tmp_path: Path) -> None:
    for name in ("a", "b", "renamed", "edited"):
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        (folder / "config.json").write_text("{}" if name != "edited" else "[]")
        (folder / "sub" / ("w" if name != "renamed" else "v")).write_bytes(b"123")
    digests = {name: folder_digest(tmp_path / name) for name in ("a", "b", "renamed", "edited")}
    assert digests["a"] == digests["b"]
    assert len(set(digests.values())) == 3


def test_importing_tracking_does_not_import_mlflow() -> None:
    code = "import sys, pipeline_lib.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
