"""Runs every ONNX file of a folder with onnxruntime against the outputs beside it.

    python3 tests/interop/onnx_check.py FOLDER

`<name>.onnx` stands beside `<name>.safetensors` with its inputs and the outputs `features` and
`embedding` of this crate. Prints the largest differences; fails above 1e-4 of an output's scale.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

files = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
assert files, "no ONNX files"
failed = False
for path in files:
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    values = load_file(path.with_suffix(".safetensors"))
    inputs = {spec.name: values[spec.name] for spec in session.get_inputs()}
    for name, found in zip(("features", "embedding"), session.run(["features", "embedding"], inputs)):
        expected = values[name]
        assert found.shape == expected.shape, (path, name, found.shape, expected.shape)
        difference = float(np.abs(found - expected).max())
        scale = max(float(np.abs(expected).max()), 1.0)
        # Written so that NaN fails.
        failed |= not difference <= 1e-4 * scale
        print(f"{path.stem:32} {name:9} {difference:.1e} of {scale:.1f}")
sys.exit(failed)
