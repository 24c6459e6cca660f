"""Inside a vLLM worker apart from the trainer: a backend of vLLM's weight transfer, which also takes weights from an object store.

What comes from GPU to GPU is left to vLLM's own backend for NCCL.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine, NCCLWeightTransferUpdateInfo

from pipeline_lib.generation.checksums import Checksums
from pipeline_lib.generation.packed import Coming, Packed, unpack
from pipeline_lib.generation.vllm_weights import Held, counted, forget_expert_kernels, held_by, pack_tied_head

BACKEND = "laconic"


@dataclass
class UpdateInfo(NCCLWeightTransferUpdateInfo):  # type: ignore[misc]  # vLLM has no types
    """vLLM's description of the weights that will come, which is empty where they are here: `packed`."""

    packed: Packed | None = None


class FleetTransfer(NCCLWeightTransferEngine):  # type: ignore[misc]
    """Takes weights over in place, and keeps checksums of those that were packed in `sent`."""

    update_info_cls = UpdateInfo
    sent: Checksums

    def start_weight_update(self) -> None:
        """See `WeightTransferEngine.start_weight_update`."""
        if self.device.type == "cpu":
            forget_expert_kernels(self.model)
        self.sent = Counter()
        super().start_weight_update()

    def receive_weights(self, update_info: UpdateInfo) -> None:
        """See `WeightTransferEngine.receive_weights`."""
        if update_info.packed is None:
            super().receive_weights(update_info)
        else:
            dtype = self.model_config.dtype
            self.model.load_weights(counted(self.model, dtype, self.device, unpack(update_info.packed), self.sent))

    def finish_weight_update(self) -> None:
        """See `WeightTransferEngine.finish_weight_update`."""
        super().finish_weight_update()
        if self.device.type == "cpu":
            pack_tied_head(self.model)


WeightTransferEngineFactory.register_engine(BACKEND, FleetTransfer)


class Registered:
    """What vLLM is told to extend its workers by: each imports this module, which registers the backend, before it looks for it."""


# What an engine is told so that it has this backend, and so that its workers know it.
SETTINGS = {"weight_transfer_config": {"backend": BACKEND}, "worker_extension_cls": f"{__name__}.{Registered.__name__}"}


def update_info(weights: Packed | Coming) -> dict[str, Any]:
    """What vLLM's workers are told of an update."""
    return weights.info if isinstance(weights, Coming) else {"names": [], "dtype_names": [], "shapes": [], "packed": weights}


def received(worker: Any, sent: Checksums | None) -> Held:
    """What a worker holds after an update, beside what was sent: those checksums, or None: those of what it has unpacked."""
    return held_by(worker, worker.weight_transfer_engine.sent if sent is None else sent)
