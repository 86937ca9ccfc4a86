"""Runs in a port's own environment: one training step of an export, its outcome in a file.

python port_step.py FOLDER BATCH.npz RESULT.npz
"""

from __future__ import annotations

import sys

import numpy as np

folder, batch, result = sys.argv[1:]
sys.path.insert(0, folder)
from network import Network  # noqa: E402  # the program in the folder

given = np.load(batch)
network = Network()
loss = network.train_step(given["images"], given["labels"], float(given["learning_rate"]))
np.savez(result, **{"the loss": np.float64(loss)}, **network.named_tensors())
