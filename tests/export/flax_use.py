"""Runs in the environment of the JAX port: the exported network used as any Flax module.

python flax_use.py FOLDER: prints JSON.
"""

from __future__ import annotations

import json
import sys

import jax.numpy as jnp
import numpy as np
from flax import nnx

sys.path.insert(0, sys.argv[1])
from network import Network, apply  # the program in the folder

network = Network()
images = network.prepare(sys.argv[2:])
graph, parameters, statistics = nnx.split(network, nnx.Param, nnx.BatchStat)
before = network.named_tensors()
logits = network(images)
merged = nnx.jit(lambda network, x: network(x))(nnx.merge(graph, parameters, statistics), images)
tensors = {name: jnp.asarray(array) for name, array in before.items()}
pure, _ = apply(network.plan.layers, tensors, images)
unchanged = all((array == before[name]).all() for name, array in network.named_tensors().items())
network.train()
network(images)
moved = {name for name, array in network.named_tensors().items() if (array != before[name]).any()}
print(
    json.dumps(
        {
            "parameters": sorted(str(name) for name in parameters["tensors"]),
            "statistics": sorted(str(name) for name in statistics["tensors"]),
            "merged": float(np.abs(merged - logits).max()),
            "pure": float(np.abs(pure - logits).max()),
            "unchanged": bool(unchanged),
            "moved": sorted(moved),
        }
    )
)
