"""Loads the safetensors of a model folder with the safetensors package; every value must be finite."""

import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open

files = sorted(Path(sys.argv[1]).glob("*.safetensors"))
assert files, f"{sys.argv[1]}: no safetensors"
tensors = values = 0
for path in files:
    with safe_open(path, framework="numpy") as file:
        for name in file.keys():
            tensor = file.get_tensor(name)
            assert np.isfinite(tensor).all(), f"{path}: {name} is not finite"
            tensors += 1
            values += tensor.size
print(f"safetensors: {tensors} tensors, {values} values, all finite")
