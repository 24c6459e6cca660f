"""What the dynamics watch found in a run's training (docs/dynamics.md) and what befell its workers, as sentences for the report."""

from collections.abc import Mapping, Sequence

from pipeline_lib.report.data import Row

MEANINGS: Mapping[str, tuple[str, str]] = {
    "entropy_spike": ("entropy rose to {value:.3g} nats per token", "above {threshold:.3g} is an alarm"),
    "length_collapse": ("the mean length fell to {value:,.0f} tokens and accuracy with it", "below {threshold:,.0f} is an alarm"),
    "length_rebound": ("the mean length rose again to {value:,.0f} tokens", "above {threshold:,.0f} is an alarm"),
    "reward_starvation": (
        "only {value:.0%} of the rollouts had a positive reward", "below {threshold:.0%} is an alarm",
    ),
    "engine_gap": ("engine and trainer drifted apart, to a mean k3 of {value:.2g} nats", "above {threshold:.2g} is an alarm"),
}  # fmt: skip
ACTIONS: Mapping[str, str] = {
    "warn": "", "stop": " Training was stopped.", "roll_back": " Training went back to the best checkpoint.",
}  # fmt: skip


def watch_notes(who: str, alarms: Sequence[Row], phases: Sequence[Row]) -> list[str]:
    """A sentence per alarm of a run, and one on its two stages where they were found; `who` names the run."""
    stages = [f"Stages of {who}: {'; '.join(map(_stage, phases))}."] if phases else []
    return [*(alarm_sentence(who, alarm) for alarm in alarms), *stages]


def alarm_sentence(who: str, alarm: Row) -> str:
    name = alarm["kind"].replace("_", " ")
    what, compared = (text.format(**alarm).replace("%", " %") for text in MEANINGS[alarm["kind"]])
    return f"Alarm in {who} at step {alarm['step']}, {name}: {what} ({compared}).{ACTIONS[alarm['action'] or 'warn']}"


def restart_notes(who: str, events: Sequence[Row]) -> list[str]:
    """A sentence on the workers of a run that died and were followed by others; nothing without any."""
    restarts = [event for event in events if event["kind"] == "worker_restarted"]
    if not restarts:
        return []
    times = "once" if len(restarts) == 1 else f"{len(restarts)} times"
    last = restarts[-1]
    return [
        f"A worker of {who} died and another went on, {times}, the last time in {last['stage']} after {last['done']} "
        f"{'steps' if last['stage'] == 'train' else 'shards'}: {last['reason']}."
    ]


def _stage(phase: Row) -> str:
    return (
        f"{phase['phase'].replace('_', ' ')} in steps {phase['first_step']} to {phase['last_step']} "
        f"(length {phase['mean_tokens_first']:,.0f} → {phase['mean_tokens_last']:,.0f} tokens, "
        f"accuracy {100 * phase['accuracy_first']:.0f} → {100 * phase['accuracy_last']:.0f} %, "
        f"entropy {phase['entropy_first']:.2f} → {phase['entropy_last']:.2f} nats per token)"
    )
