"""Loads the safetensors of a run's final model with the safetensors package; every value must be finite."""

import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open

folder = Path(sys.argv[1]) / "model"
files = sorted(folder.glob("*.safetensors"))
assert files, f"{folder}: no safetensors"
tensors = values = 0
for path in files:
    with safe_open(path, framework="numpy") as file:
        for name in file.keys():
            tensor = file.get_tensor(name)
            assert np.isfinite(tensor).all(), f"{path}: {name} is not finite"
            tensors += 1
            values += tensor.size
print(f"safetensors: {tensors} tensors, {values} values, all finite")
