"""Names and version of the ONNX graphs of ``cifarnet.models.onnx``, in a module that does not import onnx."""

VERSION = 2
"""The version of the graphs. Increase it when other graphs are built, so that cached ones are not used."""

IMAGES, LOGITS, PROBABILITIES, DISTANCE = "images", "logits", "probabilities", "distance"
"""The names of the input and the outputs."""
