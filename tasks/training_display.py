"""What the Prefect UI shows of a training run while it goes on: the newest steps, the dynamics, alarms as events."""

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect.artifacts import ImageArtifact, MarkdownArtifact, TableArtifact
from prefect.events import emit_event
from prefect.runtime import flow_run

from pipeline_lib.files.markdown import table
from pipeline_lib.messages.harmless import markdown_text
from pipeline_lib.records import Alarm, FleetEvent
from pipeline_lib.report.data import FleetRecord, Row, RunSeries
from pipeline_lib.report.dynamics import training_dynamics
from pipeline_lib.report.fleet import batches, busy_table, loss_sentences
from pipeline_lib.runs.run import Run
from pipeline_lib.stages.display import TrainingView
from tasks.artifacts import LiveArtifact, png_address, readable

RETRAINING = "laconic-retrain"
TABLE_SECONDS = 3.0
FLEET_SECONDS = 10.0
IMAGE_SECONDS = 20.0
IMAGE_DPI = 110  # of the finished report: 200
NUM_STEPS_SHOWN = 20
COLUMNS = (
    *("step", "reward_mean", "accuracy", "mean_tokens", "mean_tokens_correct", "mean_tokens_incorrect", "entropy"),
    *("truncated_fraction", "positive_fraction", "zero_variance_fraction", "kl", "grad_norm", "clip_fraction"),
    *("learning_rate", "target_tokens", "validation_accuracy", "tokens_per_second"),
)


class TrainingDisplay(TrainingView):
    """The live artifacts of one training."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._table = LiveArtifact(run.config.name, "training-steps", TABLE_SECONDS)
        self._image = LiveArtifact(run.config.name, "training-dynamics", IMAGE_SECONDS)
        self._fleet = LiveArtifact(run.config.name, "fleet", FLEET_SECONDS)
        self._announced: set[tuple[int, str]] = set()

    @property
    def is_due(self) -> bool:
        return self._table.is_due or self._image.is_due

    def show(
        self,
        curve: Sequence[dict[str, Any]],
        finished: bool = False,
        read_fleet: Callable[[], FleetRecord | None] = lambda: None,
    ) -> None:
        """Show rows of `training_steps` of the whole run so far, if it is time to, or as the last word."""
        if not curve:
            return
        if finished or self._table.is_due:
            rows = [{column: row.get(column) for column in COLUMNS} for row in reversed(curve[-NUM_STEPS_SHOWN:])]
            last = f"step {curve[-1]['step']} of {self._run.config.train.steps}"
            words = f"The newest training steps of {self._run.run_id} ({last})"
            self._table.show(TableArtifact, words, table=readable(rows))
        if (finished or self._fleet.is_due) and (fleet := read_fleet()):
            words = f"The fleet of {self._run.run_id} in its newest steps"
            self._fleet.show(
                MarkdownArtifact, words, markdown=fleet_markdown(fleet, curve[-1], self._run.config.train.batches_ahead)
            )
        if finished or (self._image.is_due and len(curve) > 1):
            words = f"Training dynamics of {self._run.run_id}"
            self._image.show(ImageArtifact, words, image_url=png_address(self._draw(curve)))

    def _draw(self, curve: Sequence[dict[str, Any]]) -> bytes:
        figure = training_dynamics([RunSeries(self._run.run_id, self._run.config.reward.name, "main", curve)])
        assert figure is not None, "a recorded step has something to draw"
        content = io.BytesIO()
        figure.savefig(content, dpi=IMAGE_DPI, format="png", metadata={"Software": None})
        return content.getvalue()

    def announce(self, alarms: Sequence[Alarm]) -> None:
        """Emit each new alarm as an event `laconic.alarm.KIND`; an automation can act on it."""
        config = self._run.config
        # A pipeline that is run with the same configuration by hand is nobody's schedule.
        pauses = flow_run.flow_name == RETRAINING and config.retrain and config.retrain.pause_on_alarm
        for alarm in alarms:
            if (alarm.step, alarm.kind) in self._announced:
                continue
            self._announced.add((alarm.step, alarm.kind))
            emit_event(
                id=uuid5(NAMESPACE_URL, f"{alarm.run_id}/{alarm.step}/{alarm.kind}"),  # a resumed training repeats none
                event=f"laconic.alarm.{alarm.kind}",
                resource={
                    "prefect.resource.id": f"laconic.run.{alarm.run_id}",
                    "prefect.resource.name": config.name,
                    "laconic.pause_on_alarm": str(bool(pauses)).lower(),
                },
                payload=asdict(alarm),
            )


def fleet_markdown(fleet: FleetRecord, step: Row, num_ahead: int) -> str:
    """How busy each actor was, the queue, how old the rollouts were (of a row of `training_steps`), and what was lost."""
    known = max(0, len(fleet.steps) - 1 - num_ahead)  # of later steps some batches are still being generated
    shown = busy_table(fleet)
    busy = table(shown.columns, [[markdown_text(cell) for cell in row] for row in shown.rows])
    generated, ready = batches(fleet)[known]
    queue = (
        f"In the step of batch {fleet.steps[known][2]}, {generated:.1f} batches were being generated on average, and {ready:.1f} "
        f"were ready and not trained on. The rollouts of step {step['step']} were {step['policy_lag']:.1f} optimiser steps old, at "
        f"most {step['largest_policy_lag']}. Actors lost so far: {len(fleet.losses)}."
    )
    return "\n\n".join([busy, queue, *map(markdown_text, loss_sentences(fleet))])


def announce_fleet(run: Run, events: Sequence[FleetEvent]) -> None:
    """Emit an event `laconic.fleet.KIND` for each actor of a run's fleet that has come or was lost."""
    for event in events:
        if event.kind in ("started", "died", "hung"):
            emit_event(
                id=uuid5(NAMESPACE_URL, f"{event.run_id}/{event.happened_at.isoformat()}/{event.actor}"),
                event=f"laconic.fleet.{event.kind}",
                resource={"prefect.resource.id": f"laconic.run.{run.run_id}", "prefect.resource.name": run.config.name},
                payload={"run_id": run.run_id, "actor": event.actor, "node": event.node, "reason": event.reason},
            )
