"""Compare the logits of a GPU with those of the CPU.

    KERAS_BACKEND=jax python benchmarks/logits.py --data cifar10-jpeg75.tar.xz --weights resnet20

The largest difference, relative to the largest logit, must be at most 1e-4 in float32 without TF32. The second row is
float32 as cifarnet uses it. --model compares initial weights instead.
"""

import tempfile
from pathlib import Path

import harness
import numpy as np

TOLERANCE = 1e-4
CPU = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}
# JAX reads the first variable, NVIDIA's libraries the second.
EXACT = {"JAX_DEFAULT_MATMUL_PRECISION": "highest", "NVIDIA_TF32_OVERRIDE": "0"}


def main() -> None:
    """Compute the logits in three processes and print the table."""
    parser = harness.parser(__doc__, "data")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--weights", help="RUN, FILE or NAME")
    weights.add_argument("--model", default="resnet20", help="(default: %(default)s)")
    parser.add_argument("--images", type=int, default=1000, help="test images (default: %(default)s)")
    args = parser.parse_args()
    here = harness.measure_one({"task": "execution"})
    ways = {"the CPU": {**CPU, **EXACT}, "the device, without TF32": EXACT, "the device": {}}
    arrays = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "logits.npy"
        for way, environment in ways.items():
            result = harness.measure_one({"task": "logits", **vars(args), "output": str(file)}, environment)
            arrays[way] = np.load(file)
    reference = arrays.pop("the CPU")
    largest = float(np.abs(reference).max())
    differences = {way: float(np.abs(logits - reference).max()) / largest for way, logits in arrays.items()}
    title = f"Difference from the CPU's logits: {result['title']}, {result['images']:,} images"
    rows = [[way, f"{difference:.1e}"] for way, difference in differences.items()]
    columns = "computed on | largest difference / largest logit"
    harness.print_table(title, columns, rows, f"{harness.machine()}; {here['device']}")
    if differences["the device, without TF32"] > TOLERANCE:
        raise SystemExit(f"The logits differ by more than {TOLERANCE:g} of the largest one.")


if __name__ == "__main__":
    main()
