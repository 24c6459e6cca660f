"""Which rollouts stay out of the loss, by (correct, short): the strategies of the paper's Table 1, whatever the reward.

In their names C is correct, I incorrect, S short (L <= L_T), L longer: "-L&C-S&I" drops long correct and short incorrect ones. A masked
rollout stays out of the loss and of its denominator; whether it still counts in the
baseline of its group is `train.masked_in_baseline`.
"""

import numpy as np

from pipeline_lib.rewards.base import BoolArray

# Strategy -> which rollouts are kept, by (correct, short). The paper's Table 1; "L_R=L_T" masks nothing, its sampling differs.
KEPT: dict[str, dict[tuple[bool, bool], bool]] = {
    "vanilla": {(True, True): True, (True, False): True, (False, True): True, (False, False): True},
    "-I": {(True, True): True, (True, False): True, (False, True): False, (False, False): False},
    "-L&C": {(True, True): True, (True, False): False, (False, True): True, (False, False): True},
    "-L&C-S&I": {(True, True): True, (True, False): False, (False, True): False, (False, False): True},
    "-L&C-L&I": {(True, True): True, (True, False): False, (False, True): True, (False, False): False},
    "L_R=L_T": {(True, True): True, (True, False): True, (False, True): True, (False, False): True},
}


def kept_rollouts(strategy: str, correct_PN: BoolArray, short_PN: BoolArray) -> BoolArray:
    """kept_PN: False where a strategy keeps a rollout out of the loss. `short_PN` is L <= L_T."""
    table = KEPT[strategy]
    lookup = np.array([[table[correct, short] for short in (False, True)] for correct in (False, True)])
    kept_PN: BoolArray = lookup[correct_PN.astype(int), short_PN.astype(int)]
    return kept_PN
