"""What a round does, drawn from the campaign's seed and the round's number alone: the same numbers give the same round."""

import random
from dataclasses import dataclass

# A deck of faults; each is dealt once before any comes again.
DECK = (
    *["kill_command"] * 4,
    *["kill_everything"] * 3,
    *["kill_worker"] * 2,
    *["signal"] * 2,
    "kill_server",
    "stop_server",
    "kill_temporary_server",
    "kill_command_with_temporary_server",
    *["damage_checkpoint"] * 4,
    "damage_model",
    "damage_handed_over",
    "damage_steps",
    "damage_rollouts",
    *["full_disk"] * 2,
    "read_only_home",
    *["ill_tracker"] * 2,
    "locked_tracker",
    "broken_tracker",
    "returning_tracker",
)
COMMANDS = {
    "kill_command": ("profile", "train", "train", "evaluate", "register", "report", "run"),
    "kill_everything": ("profile", "train", "train", "evaluate", "register", "run"),
    "kill_worker": ("profile", "train", "train", "evaluate"),
    "signal": ("profile", "train", "train", "evaluate", "register", "report", "run"),
    "kill_command_with_temporary_server": ("filter", "train", "register", "report"),
    "damage_model": ("evaluate", "register"),
    "damage_rollouts": ("report",),
    "full_disk": ("profile", "filter", "train", "train", "evaluate", "register", "report", "run"),
    "read_only_home": ("profile", "filter", "train", "evaluate", "register", "report", "run"),
    "ill_tracker": ("filter", "train", "evaluate", "register", "report"),
    "locked_tracker": ("train", "evaluate", "register", "report"),
    "broken_tracker": ("filter", "train", "register", "report"),
    "returning_tracker": ("train", "register"),
}
# Moments that can be told from outside, by the file that appears then.
TRAINING = {
    "the job is handed over": "workers/*/0000.json",
    "the first step is recorded": "training/*/steps/step-00001.json",
    "a checkpoint is being written": "checkpoints/*/.step-*.partial*",
    "a checkpoint's state is written": "checkpoints/*/.step-*/state/*",
    "a checkpoint's model is written": "checkpoints/*/.step-*/model/model.safetensors",
    "a checkpoint has its name": "checkpoints/*/step-?????/progress.json",
    "the last step is recorded": "training/*/steps/step-00006.json",
}
EVALUATION = {"rollouts of the evaluation are written": "rollouts/*/evaluate/*"}
REGISTRATION = {
    "the model is being uploaded": "mlartifacts/models/*/artifacts/*",
    "the model's weights are uploaded": "mlartifacts/models/*/artifacts/model.safetensors",
}
REPORT = {"the first figure is drawn": "reports/*/*.png", "the page is written": "reports/*/report.html"}
# Databases take a while to be made: the moment is at a size below that of the new file.
DATABASES = {"MLflow's database is being made": 900_000, "Prefect's database is being made": 3_000_000}
MOMENTS: dict[str, dict[str, str]] = {
    "profile": {
        "MLflow's database is being made": "*mlflow*.db*",
        "the store is being made": "*laconic*.duckdb*",
        "the job is handed over": "workers/*/0000.json",
        "rollouts are written": "rollouts/*/profile/*",
    },
    "filter": {},
    "train": TRAINING,
    "evaluate": EVALUATION,
    "register": REGISTRATION,
    "report": REPORT,
    "run": {**TRAINING, **EVALUATION, **REGISTRATION, **REPORT},
}
# They take minutes to prepare and run: a few of a hundred rounds, and only where the fault needs no interrupted home.
VARIANT_LIMITS = {"vllm": 0.08, "control": 0.18}
VARIED = ("kill_command", "kill_everything", "kill_worker", "signal")
# Faults that need a moment in the middle of the work.
MIDDLE = ("kill_server", "stop_server", "kill_temporary_server", "damage_handed_over", "locked_tracker")
# Faults that are done to a running command.
AT_A_MOMENT = (*MIDDLE, *VARIED, "kill_command_with_temporary_server", "ill_tracker")
DAMAGES = ("flip a bit of", "truncate", "empty", "delete", "overwrite")
NAMED_SHARE, LOOK_SHARE = 0.6, 0.25


@dataclass(frozen=True, slots=True)
class Moment:
    """When a file appears (and has so many bytes, and `delay` seconds later), or at a share of the command's usual time."""

    name: str
    pattern: str | None
    share: float
    delay_seconds: float
    size_bytes: int = 0

    def __str__(self) -> str:
        if self.pattern and self.size_bytes:
            return f"when {self.name} and has {self.size_bytes} bytes"
        if self.pattern:
            return f"{self.delay_seconds:.2f} s after {self.name}"
        return f"at {100 * self.share:.0f} % of its usual time"


@dataclass(frozen=True, slots=True)
class Plan:
    """A round. `chance` is a number in [0, 1) that the fault may use as it likes, `how` the variety of the fault."""

    seed: int
    number: int
    fault: str
    command: str
    variant: str
    moment: Moment
    how: str
    chance: float
    is_looked_at: bool

    def __str__(self) -> str:
        how = f" ({self.how})" if self.how else ""
        variant = "" if self.variant == "plain" else f" [{self.variant}]"
        when = f", {self.moment}" if self.fault in AT_A_MOMENT else ""
        look = ", then another command looks" if self.is_looked_at else ""
        return f"round {self.number} of seed {self.seed}: {self.fault}{how} during {self.command}{variant}{when}{look}"


def draw(seed: int, number: int) -> Plan:
    """The plan of a round."""
    dealt, place = divmod(number, len(DECK))
    deck = list(DECK)
    random.Random(f"{seed}/deck/{dealt}").shuffle(deck)
    fault = deck[place]
    chance = random.Random(f"{seed}/{number}")
    command = chance.choice(COMMANDS.get(fault, ("train",)))
    varied, variant = chance.random(), "plain"
    if fault in VARIED:
        variant = next((name for name, limit in VARIANT_LIMITS.items() if varied < limit), "plain")
    return Plan(
        seed,
        number,
        fault,
        command,
        variant,
        _moment(fault, command, chance),
        _how(fault, chance),
        chance.random(),
        fault in ("kill_command", "kill_everything") and command != "profile" and chance.random() < LOOK_SHARE,
    )


def _moment(fault: str, command: str, chance: random.Random) -> Moment:
    named = dict(MOMENTS[command])
    if fault == "kill_command_with_temporary_server":
        named["Prefect's database is being made"] = "prefect/prefect.db*"
    if fault in ("kill_server", "stop_server", "kill_temporary_server"):  # in mid-training
        named = {"the first step is recorded": TRAINING["the first step is recorded"]}
    if fault == "damage_handed_over":
        named = {
            "prompts are handed over": "training/*/prompts.json",
            "the worker's settings are handed over": "workers/*/worker.json",
            "the job is handed over": "workers/*/0000.json",
        }
    is_named = named and (chance.random() < NAMED_SHARE or fault in MIDDLE)
    share, delay = chance.uniform(0.1, 1.0), chance.choice((0.0, chance.uniform(0.0, 0.5)))
    if fault == "damage_handed_over":
        delay = 0.0
    if not is_named:
        return Moment("", None, share, 0.0)
    name = chance.choice(sorted(named))
    if name in DATABASES:
        return Moment(name, named[name], share, 0.0, chance.randrange(DATABASES[name]))
    return Moment(name, named[name], share, delay)


def _how(fault: str, chance: random.Random) -> str:
    varieties = {
        "signal": ("SIGTERM", "SIGINT"),
        "damage_checkpoint": DAMAGES,
        "damage_model": DAMAGES,
        "damage_handed_over": ("truncate", "empty"),
        "damage_steps": ("truncate", "empty", "delete"),
        "damage_rollouts": ("truncate", "empty", "overwrite"),
        "ill_tracker": ("refuses", "silent", "drips", "error"),
        "broken_tracker": ("truncate", "overwrite"),
    }
    return chance.choice(varieties[fault]) if fault in varieties else ""
