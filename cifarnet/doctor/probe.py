"""Examine one backend or engine in this process, which it may end: ``python -m cifarnet.doctor.probe``.

stdin has the request, and stdout gets the answers, each as a line of JSON. A process of its own is needed, because
Keras runs on one backend in a process, and an installation may be broken so badly that it ends the process or hangs.
"""

import base64
import faulthandler
import io
import json
import os
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np


def main() -> None:
    """Answer the request on stdin."""
    # Libraries print on stdout.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers, os.fdopen(os.dup(2), "wb") as log:
        os.dup2(2, 1)
        # To a copy, because stderr is held back while a backend starts.
        faulthandler.enable(log)
        request = json.load(sys.stdin)

        def send(answer: dict[str, Any]) -> None:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()

        try:
            examine = _examine_backend if request["kind"] == "backend" else _examine_engine
            send({"result": examine(request, lambda activity: send({"activity": activity}))})
        except (Exception, SystemExit) as error:
            send(_failure(error))
    # Without the destructors of the libraries, which add seconds, and are not what is examined.
    os._exit(0)


def _failure(error: BaseException) -> dict[str, Any]:
    from cifarnet.doctor.culprit import package_of_error
    from cifarnet.doctor.selftest import first_line
    from cifarnet.errors import CifarnetError

    if isinstance(error, CifarnetError):
        if error.remedy or error.__cause__ is None:
            return {"error": str(error), "advises": True}
        error = error.__cause__
    return {"error": first_line(error), "advises": False, "culprit": package_of_error(error)}


def _examine_backend(request: dict[str, Any], report: Any) -> dict[str, Any]:
    from cifarnet.backend.environment import ignore_number_variables
    from cifarnet.backend.select import use_backend

    began = time.monotonic()
    ignore_number_variables()
    use_backend(request["name"])
    from cifarnet.doctor.selftest import examine_devices

    seconds = time.monotonic() - began
    found = examine_devices(request["test"], report)
    for state in found:
        for name, value in (state["test"] or {}).items():
            if name in ("before", "logits"):
                state["test"][name] = packed({name: value})
            elif name == "tensors":
                state["test"][name] = packed(value)
    return {"seconds": seconds, "devices": found}


def _examine_engine(request: dict[str, Any], report: Any) -> dict[str, Any]:
    from cifarnet.doctor.selftest import IMAGES, sample_images, untrained_weights
    from cifarnet.inference.engines import start_engine
    from cifarnet.models.onnx import onnx_model

    weights, images = untrained_weights(), sample_images().images
    logits = []
    for text in request["tensors"]:
        tensors = unpacked(text)
        # With its graph, so that the cache keeps the graphs of networks that are used.
        graph = onnx_model(weights.spec, tensors, weights.normalization).SerializeToString()
        engine = start_engine(request["name"], replace(weights, tensors=tensors, graph=graph))
        logits.append(packed({"logits": engine.logits(images, batch_size=IMAGES)}))
    return {"logits": logits}


def packed(arrays: dict[str, np.ndarray]) -> str:
    """Return named arrays as a text, which ``unpacked`` reads."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # The keyword allow_pickle is no array.
    return base64.b64encode(file.getvalue()).decode()


def unpacked(text: str) -> dict[str, np.ndarray]:
    """Return the arrays of ``packed``."""
    with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as arrays:
        return dict(arrays)


if __name__ == "__main__":
    main()
