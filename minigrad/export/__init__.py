"""Models as files that run without minigrad.

exporting     onnx: what is called
recording     what a model does, op by op, at one size of its inputs
comparing     recordings at several sizes, made one
sizes         numbers that follow from lengths
translations  what each op becomes
building      nodes and constants, and the `onnx` library
"""

from minigrad.export.building import OPSET
from minigrad.export.exporting import Exported, onnx

__all__ = ["OPSET", "Exported", "onnx"]
