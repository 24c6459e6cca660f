"""The memory plan: what a run takes on each GPU, phase by phase, computed before anything is started."""

from pipeline_lib.memory.architecture import Architecture, architecture_of
from pipeline_lib.memory.card import H100, Card, card_here
from pipeline_lib.memory.plan import MemoryPlan, Phase, memory_plan
from pipeline_lib.memory.remedy import settings_that_fit

__all__ = [
    "H100",
    "Architecture",
    "Card",
    "MemoryPlan",
    "Phase",
    "architecture_of",
    "card_here",
    "memory_plan",
    "settings_that_fit",
]
