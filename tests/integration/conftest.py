"""Fixtures of the tests on real engines."""

import os
from collections.abc import Iterator

import pytest
from loopback import free_port, rank_variables


@pytest.fixture(scope="module")
def one_rank() -> Iterator[None]:
    """This process is the only rank of a process group, as under a launcher."""
    import deepspeed
    import torch.distributed as dist

    from pipeline_lib.training.ranks import init_distributed

    variables = rank_variables(0, 1, free_port())
    os.environ.update(variables)
    if not dist.is_initialized():
        init_distributed()
    yield
    # DeepSpeed keeps a group that vLLM, which joins it, destroys with its engine: neither must find it in another module.
    deepspeed.comm.destroy_process_group()
    for name in variables:
        os.environ.pop(name)
