"""What devices can do."""

from __future__ import annotations

from importlib.util import find_spec

import torch


def runs_triton(device: torch.device) -> bool:
    """Whether programs in Triton run there: on GPUs of NVIDIA from Volta on, and of AMD."""
    return (
        device.type == "cuda"
        and find_spec("triton") is not None
        and torch.cuda.get_device_capability(device)[0] >= 7
    )
