"""Makes packages/core/src/blocks.fixture.json: random blocks of every GGML format, and what gguf's numpy decoders make of them.

    pip install gguf==0.19.0 numpy && python make-blocks.py && npx biome format --write ../../packages/core/src/blocks.fixture.json

Per format the bytes of two blocks and their values in f32, little-endian, both in hexadecimal digits.
"""
import json, pathlib
import numpy as np
from gguf import GGMLQuantizationType as Type, GGML_QUANT_SIZES
from gguf.quants import dequantize

# Where a block's f16 scales and minima lie: random bits there could be NaN.
FLOATS = {
    "q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q8_0": [0], "q2_k": [80, 82], "q3_k": [108], "q4_k": [0, 2], "q5_k": [0, 2],
    "q6_k": [208], "iq4_nl": [0], "iq4_xs": [0],
}

random = np.random.default_rng(1)
fixture = {}
for name, offsets in FLOATS.items():
    kind = Type[name.upper()]
    blocks = random.integers(0, 256, (2, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for at in offsets:
        blocks[:, at : at + 2] = random.normal(0, 0.01, (2, 1)).astype("<f2").view(np.uint8)
    values = dequantize(blocks, kind).astype("<f4")
    fixture[name] = {"blocks": blocks.tobytes().hex(), "values": values.tobytes().hex()}

path = pathlib.Path(__file__).parent / "../../packages/core/src/blocks.fixture.json"
path.write_text(json.dumps(fixture, indent=2) + "\n")
