"""Generation of rollouts: the `Generator` protocol, its engines, and the proof that they hold the weights they were sent.

Only `vllm_engine` and `vllm_weights` import vLLM; `engines.make_generator` chooses.
"""
