"""What the next retraining of a registered model is: which base, which seed, which prompts. A definite configuration."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_lib.config import ControlConfig, PromptSource, RetrainConfig, RunConfig
from pipeline_lib.files.home import below
from pipeline_lib.files.jsonl import to_array
from pipeline_lib.files.whole_files import replacing
from pipeline_lib.prompts import resolve_source
from pipeline_lib.prompts.collecting import to_prompt
from pipeline_lib.prompts.tables import read_rows
from pipeline_lib.runs.base_model import pinned

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store

CHAMPION = "champion"
PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class RetrainingPlan:
    """The retraining that comes next. `config` is None when there is no new prompt to train on."""

    base_model: str
    config: RunConfig | None


def plan_retraining(config: RunConfig, champion_version: int | None, store: "Store") -> RetrainingPlan:
    """Plan the next retraining: from the champion, or from the configured base while there is none.

    The seed moves on with every decided retraining, so a refused one is not repeated as it was, while one that was interrupted
    is taken up: it has the same run_id. Raises ValueError for a configuration without [retrain].
    """
    if config.retrain is None:
        raise ValueError(f"{config.name} has no section [retrain]: add one (docs/gate.md); an empty one takes the defaults")
    name = config.registered_model
    decisions = store.named("promotions_of_model", model_name=name)
    number = sum(1 for row in decisions if row["kind"] == "retrain")
    changed: dict[str, Any] = {"seed": config.seed + number, "control": ControlConfig()}
    if champion_version is not None:
        changed |= {"base_model": f"models:/{name}/{champion_version}", "model_revision": None}
    if config.evaluate.checkpoints == "last":  # the registered checkpoint is the best one, and it has to be judged
        changed["evaluate"] = config.evaluate.model_copy(update={"checkpoints": "best_and_last"})
    planned = pinned(config.model_copy(update=changed))
    prompts = _prompts(planned, config.retrain, number, store)
    final = planned.model_copy(update={"prompts": prompts}) if prompts else None
    return RetrainingPlan(planned.base_model, final)


def _prompts(planned: RunConfig, retrain: RetrainConfig, number: int, store: "Store") -> PromptSource | None:
    source = planned.prompts
    if retrain.prompts == "all":
        return source
    if source.is_generated:
        return source.model_copy(update={"seed": source.seed + number})
    name = planned.registered_model
    seen = store.named(
        "profiled_prompts", model_name=name, source=source.name, base_model=planned.base_model, seed=planned.seed
    )
    path = below(store.home, "new_prompts", name, f"{number:04d}.parquet")
    return unseen_prompts(source, {row["prompt_id"] for row in seen}, path)


def unseen_prompts(source: PromptSource, seen: Collection[str], path: Path) -> PromptSource | None:
    """Write the rows of a file or hub source whose prompt is not among `seen`; the source that reads them, None for none.

    At most `num_prompts` are drawn from them, as from the whole.
    """
    resolved = resolve_source(source)
    if not seen:
        return source
    rows, ids = [], set()
    for row in read_rows(resolved):
        prompt_id = to_prompt(row, resolved).prompt_id
        if prompt_id not in seen:
            rows.append(row)
            ids.add(prompt_id)
    if not rows:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        table = pa.table({name: to_array([row.get(name) for row in rows]) for name in dict.fromkeys(chain(*rows))})
        pq.write_table(table, temporary, compression="zstd")
    drawn = source.num_prompts if source.num_prompts is not None and source.num_prompts < len(ids) else None
    changed = {"kind": "file", "path": str(path), "local": None, "num_problems": None, "num_prompts": drawn}
    return resolved.model_copy(update=changed)
