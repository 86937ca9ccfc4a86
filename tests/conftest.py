"""One torch thread: two collapse when anything else runs on the machine."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
