"""An OpenVINO model cut in three, so that only what lies between its convolutions runs in low precision.

OpenVINO has one precision for a whole model. In bfloat16, with 8 bits of mantissa, the tone head's decision and its
curve come out codes off, and so does the picture that the generator's change is added to.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})
# A convolution in 8 bits needs the rounding of its input in the same part.
KERNEL = CONVOLUTIONS | {"FakeQuantize"}
BEFORE, BETWEEN, AFTER = range(3)


def cut(openvino: ModuleType, model: Any) -> list[Any]:
    """Cut an `openvino.Model` before its first convolutions and after its last ones; the model itself is used up.

    Returns three models to run one after another, or the model alone if it has no convolutions. What one computes for a
    later one is an output and an input of the same name.
    """
    nodes = model.get_ordered_ops()
    if not any(node.get_type_name() in CONVOLUTIONS for node in nodes):
        return [model]
    computed = _not_constant(nodes)
    parts = _parts(computed)
    inputs: tuple[list[Any], ...] = ([], [], [])
    results: tuple[list[Any], ...] = ([], [], [])
    for parameter in model.get_parameters():
        inputs[parts[parameter.get_name()]].append(parameter)
    for result in model.get_results():
        results[parts[result.get_name()]].append(result)
    for node in computed:
        own = parts[node.get_name()]
        for output in node.outputs():
            later: dict[int, list[Any]] = {}
            for end in output.get_target_inputs():
                if (part := parts[end.get_node().get_name()]) > own:
                    later.setdefault(part, []).append(end)
            if later and node.get_type_name() != "Parameter":
                output.get_tensor().add_names({f"{node.get_name()}.{output.get_index()}"})
                results[own].append(openvino.op.Result(output))
            for part, ends in later.items():
                inputs[part].append(_replaced(openvino, output, ends))
    return [openvino.Model(results[part], inputs[part], f"part {part}") for part in range(AFTER + 1)]


def _replaced(openvino: ModuleType, output: Any, ends: list[Any]) -> Any:
    """Let the consumers `ends` of an output take a new parameter instead, which is returned."""
    parameter = openvino.op.Parameter(output.get_element_type(), output.get_partial_shape())
    parameter.output(0).get_tensor().set_names(output.get_names())
    for end in ends:
        end.replace_source_output(parameter.output(0))
    return parameter


def _sources(node: Any) -> Iterator[str]:
    return (end.get_source_output().get_node().get_name() for end in node.inputs())


def _not_constant(nodes: list[Any]) -> list[Any]:
    """The nodes, in order, without constants and what is computed from constants alone."""
    names: set[str] = set()
    found = []
    for node in nodes:
        if node.get_type_name() == "Parameter" or any(name in names for name in _sources(node)):
            names.add(node.get_name())
            found.append(node)
    return found


def _parts(nodes: list[Any]) -> dict[str, int]:
    """The part of each node, by its name: `BEFORE` is what the convolutions need, `AFTER` what they do not."""
    reached: set[str] = set()
    needed: set[str] = set()
    for node in nodes:
        if node.get_type_name() in KERNEL or any(name in reached for name in _sources(node)):
            reached.add(node.get_name())
    for node in reversed(nodes):
        if node.get_type_name() in KERNEL or node.get_name() in needed:
            needed.update((node.get_name(), *_sources(node)))
    names = [node.get_name() for node in nodes]
    return {name: AFTER if name not in needed else BETWEEN if name in reached else BEFORE for name in names}
