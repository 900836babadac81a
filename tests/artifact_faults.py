"""Faults to plant in a finished ONNX file of float32 pictures: each is an edit of the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

IMAGE, ENHANCED = "image", "enhanced"
SEEN, HONEST = "fault_seen", "fault_honest"  # what the network sees, and what it answers
LAST = np.iinfo(np.int64).max


class Edit:
    """Nodes and constants to add to a graph."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: float | Sequence[int]) -> str:
        """The name of a new constant: a float32 number, or a list of int64."""
        name = f"fault_constant_{len(self.constants)}"
        array = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, *inputs: str, out: str = "", **attributes: int) -> str:
        """The name of the output of a new node."""
        out = out or f"fault_value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def part(self, x: str, start: int, end: int, axis: int, step: int = 1) -> str:
        """A slice of `x` along one axis."""
        return self.node("Slice", x, *(self.constant([number]) for number in (start, end, axis, step)))

    def later_rows(self) -> str:
        """1 for each picture of the batch after the first, 0 for the first: N x 1 x 1 x 1."""
        largest = self.node("ReduceMax", IMAGE, self.constant([1, 2, 3]), keepdims=1)
        ones = self.node("Add", self.node("Mul", largest, self.constant(0.0)), self.constant(1.0))
        number = self.node("CumSum", ones, self.constant([0]), exclusive=1)
        return self.node("Min", number, self.constant(1.0))

    def brighter(self, share: str) -> None:
        """Add 0.1 times `share`, N x 1 x 1 x 1, to the answer."""
        self.node("Add", HONEST, self.node("Mul", share, self.constant(0.1)), out=ENHANCED)


def _swapped(edit: Edit) -> None:
    edit.node("Gather", HONEST, edit.constant([2, 1, 0]), out=ENHANCED, axis=1)


def _shifted(edit: Edit) -> None:
    edit.node("Concat", edit.part(HONEST, -1, LAST, 3), edit.part(HONEST, 0, -1, 3), out=ENHANCED, axis=3)


def _flipped(edit: Edit) -> None:
    edit.node("Identity", edit.part(HONEST, -1, -LAST, 2, -1), out=ENHANCED)


def _nan(edit: Edit) -> None:
    bright = edit.node("Greater", HONEST, edit.constant(0.7))
    edit.node("Where", bright, edit.constant(float("nan")), HONEST, out=ENHANCED)


def _half_wrong(edit: Edit) -> None:
    edit.brighter(edit.later_rows())


def _identical_rows(edit: Edit) -> None:
    difference = edit.node("Abs", edit.node("Sub", IMAGE, edit.part(IMAGE, 0, 1, 0)))
    same = edit.node("Equal", edit.node("ReduceMax", difference, edit.constant([1, 2, 3])), edit.constant(0.0))
    edit.brighter(edit.node("Mul", edit.node("Cast", same, to=onnx.TensorProto.FLOAT), edit.later_rows()))


def _scaled(name: str, factor: float) -> Callable[[Edit], None]:
    """The answer, or with SEEN what the network sees, times a factor."""
    return lambda edit: edit.node("Mul", IMAGE if name == SEEN else HONEST, edit.constant(factor), out=name) and None


FAULTS: Mapping[str, Callable[[Edit], None]] = {
    "swapped channels": _swapped,
    "shift by one pixel": _shifted,
    "one per cent darker": _scaled(ENHANCED, 0.99),
    "flipped rows": _flipped,
    "double normalisation": _scaled(SEEN, 1 / 255),
    "range [0, 255] for [0, 1]": _scaled(SEEN, 255.0),
    "half the batch wrong": _half_wrong,
    "NaN": _nan,
    "zeros": _scaled(ENHANCED, 0.0),
    "identical rows answered differently": _identical_rows,
}


def planted(model: onnx.ModelProto, fault: str) -> onnx.ModelProto:
    """A copy of a model with inputs `image` and output `enhanced`, with the fault in its graph."""
    wrong = onnx.ModelProto()
    wrong.CopyFrom(model)
    edit = Edit()
    FAULTS[fault](edit)
    made = {name for node in edit.nodes for name in node.output}
    for node in wrong.graph.node:
        for names, old, new in ((node.input, IMAGE, SEEN), (node.output, ENHANCED, HONEST)):
            for index, name in enumerate(names):
                if name == old and (old == ENHANCED or new in made):
                    names[index] = new
        for index, name in enumerate(node.input):  # the answer may be read inside the graph, too
            if name == ENHANCED:
                node.input[index] = HONEST
    if ENHANCED not in made:
        edit.node("Identity", HONEST, out=ENHANCED)
    first = [node for node in edit.nodes if HONEST not in node.input and SEEN in node.output]
    rest = [*first, *wrong.graph.node, *(node for node in edit.nodes if node not in first)]
    del wrong.graph.node[:]
    wrong.graph.node.extend(rest)
    wrong.graph.initializer.extend(edit.constants)
    onnx.checker.check_model(wrong, full_check=True)
    return wrong
