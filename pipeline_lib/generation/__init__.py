"""Generation of rollouts: the `Generator` protocol, its engines, and the weight-sync parity check.

Only `vllm_engine` imports vLLM; `engines.make_generator` chooses.
"""
