"""ThinkPrune (arXiv 2504.01296; UCSB-NLP-Chang/ThinkPrune, local_scripts): 1[c] · 1[L <= L_T], with sampling cut at L_T.

The reward is `truncation`. The recipe is around it: `train.rollout_limit_tokens` = `reward.target_tokens` (L_R = L_T), the prompt
states that limit (`suffix` of the prompt source), and the limit is lowered run by run, each from the last one's checkpoint
(published: 4k, then 3k).
"""

from pipeline_lib.rewards.truncation import TruncationReward


class ThinkPruneReward(TruncationReward):
    """Nothing for what is not finished and right within the limit."""
