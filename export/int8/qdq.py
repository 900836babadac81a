"""Insert the Q/DQ (QuantizeLinear, DequantizeLinear) nodes of int8 convolutions into an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.int8.scheme import Plan, Range, step_of, weight_steps


def insert_qdq(graph: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """A copy of the graph that `export.to_onnx.convert` made, with Q/DQ nodes around the plan's int8 convolutions.

    ONNX Runtime's own tool is not used, because it puts the nodes on tensors and not on single uses of them. So it
    also rounds the residual path that a convolution reads, and the shared weights of a use that stays in float.
    """
    graph = onnx.ModelProto.FromString(graph.SerializeToString())
    writer = _Writer(graph.graph, plan)
    nodes = list(graph.graph.node)
    del graph.graph.node[:]
    index = -1
    for node in nodes:
        index += node.op_type == "Conv"
        if node.op_type == "Conv" and index not in plan.kept:
            writer.add_in_int8(node, index)
        else:
            graph.graph.node.append(node)
    assert index + 1 == len(plan.convolutions)
    used = {name for node in graph.graph.node for name in node.input}
    constants = [constant for constant in graph.graph.initializer if constant.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(constants)
    onnx.checker.check_model(graph, full_check=True)
    return graph


class _Writer:
    """Appends nodes and constants to a graph from which the nodes were removed."""

    def __init__(self, graph: onnx.GraphProto, plan: Plan) -> None:
        self.graph, self.plan = graph, plan
        self.values = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}

    def add_in_int8(self, node: onnx.NodeProto, index: int) -> None:
        """Append the convolution with Q/DQ nodes for its input, its weights and, if the scheme wants it, its output."""
        scheme, ranges = self.plan.scheme, self.plan.convolutions[index]
        x, name, *bias_name = node.input
        weight = torch.tensor(self.values[name])
        steps = weight_steps(weight, scheme)
        bias = self.plan.offsets[index].flatten().numpy() + (self.values[bias_name[0]] if bias_name else 0)
        codes = self.constant(f"{name}_int8", torch.round(weight / steps).to(torch.int8).numpy())
        inputs = [
            self.rounded(x, f"{node.name}_input", ranges.input),
            self.dequantized(codes, f"{node.name}_weight", steps.flatten().numpy()),
        ]
        if scheme.outputs:  # ONNX Runtime fuses such a convolution only with a bias of 32-bit integers
            bias_steps = steps.flatten().numpy() * np.float32(step_of(ranges.input, scheme)[0])
            whole = np.clip(np.rint(bias / bias_steps.astype(np.float64)), -(2**31), 2**31 - 1).astype(np.int32)
            inputs.append(
                self.dequantized(self.constant(f"{node.name}_bias_int32", whole), f"{node.name}_bias", bias_steps)
            )
        else:
            inputs.append(self.constant(f"{node.name}_bias", bias.astype(np.float32)))
        y = node.output[0]
        node = onnx.NodeProto.FromString(node.SerializeToString())
        node.input[:] = inputs
        self.graph.node.append(node)
        if scheme.outputs:
            self.graph.node[-1].output[0] = f"{node.name}_float"
            self.rounded(f"{node.name}_float", f"{node.name}_output", ranges.output, y)

    def rounded(self, x: str, name: str, span: Range, y: str = "") -> str:
        """Append Q and DQ nodes for a tensor; returns the name of the result, which is `y` if given."""
        step, zero = step_of(span, self.plan.scheme)
        kind = np.int8 if self.plan.scheme.signed else np.uint8
        parameters = [
            self.constant(f"{name}_step", np.array(step, np.float32)),
            self.constant(f"{name}_zero", np.array(zero, kind)),
        ]
        y = y or f"{name}_rounded"
        self.graph.node.append(helper.make_node("QuantizeLinear", [x, *parameters], [f"{name}_codes"], f"{name}_Q"))
        self.graph.node.append(helper.make_node("DequantizeLinear", [f"{name}_codes", *parameters], [y], f"{name}_DQ"))
        return y

    def dequantized(self, codes: str, name: str, steps: NDArray[np.float32]) -> str:
        """Append a DQ node for a constant with one step per index of its first axis; returns the result's name."""
        parameters = [
            self.constant(f"{name}_steps", steps),
            self.constant(f"{name}_zeros", np.zeros(steps.shape, self.values[codes].dtype)),
        ]
        self.graph.node.append(
            helper.make_node("DequantizeLinear", [codes, *parameters], [f"{name}_rounded"], f"{name}_DQ", axis=0)
        )
        return f"{name}_rounded"

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Store a constant if no other has its name; returns the name."""
        if name not in self.values:
            self.values[name] = value
            self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name
