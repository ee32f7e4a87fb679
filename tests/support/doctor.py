"""Answers of probes for tests of ``cifarnet doctor``, as a machine with a GPU would give them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.doctor.probe import packed
from cifarnet.doctor.processes import ProbeError
from cifarnet.doctor.selftest import sample_images, untrained_weights

LARGEST = 8.0
"""The largest logit of ``good_logits``."""


def good_logits() -> np.ndarray:
    return np.eye(10, dtype=np.float32)[sample_images().labels] * np.float32(LARGEST)


def training(logits: np.ndarray, before: np.ndarray | None = None) -> dict[str, Any]:
    before = np.zeros_like(logits) if before is None else before
    tensors = packed(untrained_weights().tensors)
    return {
        "before": packed({"before": before}),
        "logits": packed({"logits": logits}),
        "tensors": tensors,
        "seconds": 2.0,
    }


def device(kind: str, test: dict[str, Any] | None, advice: str | None = None, chosen: bool = True) -> dict[str, Any]:
    name, precision = ("GPU NVIDIA H100 80GB HBM3", "bfloat16") if kind == "gpu" else ("CPU, 2 cores", "float32")
    return {
        "name": name,
        "kind": kind,
        "chosen": chosen,
        "precision": precision,
        "precision_reason": "of a reason",
        "jit": kind == "gpu",
        "jit_reason": "of another reason",
        "advice": advice,
        "test": test,
    }


def answers(tensorflow: list[dict[str, Any]] | None = None, jax: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the answer of each probe: all is well, except in the given devices."""
    good = training(good_logits())
    backends = {
        "tensorflow": [device("cpu", good)] if tensorflow is None else tensorflow,
        "jax": [device("gpu", good), device("cpu", good, chosen=False)] if jax is None else jax,
    }
    found: dict[str, Any] = {name: {"seconds": 5.25, "devices": devices} for name, devices in backends.items()}
    trained = sum(bool(each["test"]) for devices in backends.values() for each in devices) or 1
    return {
        **found,
        "onnx": {"logits": [packed({"logits": good_logits()})] * trained},
        "openvino": {"logits": [packed({"logits": good_logits()})]},
    }


def replaying(given: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """Return a probe that gives these answers. An error in place of an answer is raised."""

    def probe(request: dict[str, Any], report: object, patience: float = 0) -> dict[str, Any]:
        answer = given[request["name"]]
        if isinstance(answer, ProbeError):
            raise answer
        return answer

    return probe


def package(folder: Path, name: str, code: str) -> dict[str, str]:
    """Write a package that runs ``code`` when it is imported, and return the variable that makes Python find it."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)
    return {"PYTHONPATH": str(folder)}
