"""Edits of an ONNX graph that bring its weights to where ONNX Runtime's quantizers look for them. All are in place.

The quantizers know a weight as an initializer that an operator reads directly, and a node by its name.
"""

from __future__ import annotations

from typing import Any

from weighbridge.steps.onnx_edits import drop_unused, free_name, keep_names, names, set_nodes


def flatten_biases(model: Any) -> list[str]:
    """Make the constant C of each Gemm a vector, one number an output, as per-channel quantization needs it.

    C may be of any shape that broadcasts to [M, N]: [1, N] and single numbers become [N]; what differs by row is
    added by a node of its own. It is multiplied by beta, which ONNX Runtime loses. Returns the names of these nodes.
    """
    import numpy as np
    import onnx

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    taken = names(model)
    nodes, added = [], []
    for original in graph.node:
        node = onnx.NodeProto.FromString(original.SerializeToString())
        nodes.append(node)
        outputs = _gemm_outputs(node, stored)
        if outputs is None or len(node.input) < 3 or node.input[2] not in stored:
            continue
        bias = onnx.numpy_helper.to_array(stored[node.input[2]])
        beta = next((each for each in node.attribute if each.name == "beta"), None)
        if bias.shape == (outputs,) and beta is None:
            continue
        if beta is not None:
            bias = (bias * beta.f).astype(bias.dtype)
            node.attribute.remove(beta)
        by_row = bias.ndim == 2 and bias.shape[0] > 1
        name = free_name(f"{node.input[2]}_{node.name}", taken)
        if not by_row:
            flat = np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (outputs,)))
            graph.initializer.append(onnx.numpy_helper.from_array(flat, name))
            node.input[2] = name
            continue
        graph.initializer.append(onnx.numpy_helper.from_array(bias, name))
        nodes.append(_bias_apart(node, name, taken))
        added.append(nodes[-1].name)
    set_nodes(graph, nodes)
    drop_unused(model)
    return added


def _bias_apart(node: Any, bias: str, taken: set[str]) -> Any:
    """Take its bias from a node, and give the Add that adds the stored `bias` to what the node makes."""
    import onnx

    made = node.output[0]
    product = free_name(f"{made}_product", taken)
    add = onnx.helper.make_node("Add", [product, bias], [made], name=free_name(f"{node.name}_bias", taken))
    node.output[0] = product
    del node.input[2]
    return add


def own_biases(model: Any) -> None:
    """Give each product a bias of its own, since its scale is the product's.

    ONNX Runtime copies a bias that several read, by names of its own that other tensors may have.
    """
    import onnx

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    taken = names(model)
    met = set()
    for node in graph.node:
        products = ("Conv", "ConvTranspose", "Gemm")
        name = node.input[2] if node.op_type in products and len(node.input) > 2 else ""
        if name in met:
            tensor = onnx.TensorProto.FromString(stored[name].SerializeToString())
            tensor.name = node.input[2] = free_name(f"{name}_{node.name}", taken)
            graph.initializer.append(tensor)
        elif name in stored:
            met.add(name)


def _gemm_outputs(node: Any, stored: dict[str, Any]) -> int | None:
    """N of a Gemm whose B is stored; None for any other node."""
    if node.op_type != "Gemm" or node.input[1] not in stored:
        return None
    return int(stored[node.input[1]].dims[0 if transposed(node) else 1])


def transposed(node: Any) -> bool:
    """Whether a Gemm reads its B as [N, K]."""
    return any(each.name == "transB" and each.i for each in node.attribute)


def part_grouped_biases(model: Any) -> list[str]:
    """Take the bias out of transposed convolutions in groups, into an Add after them; returns the names of these nodes.

    Their weight has out / groups channels along its axis 1 and the bias has out numbers, so ONNX Runtime finds no
    scale for a bias beside per-channel weights.
    """
    import onnx

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    taken = names(model)
    nodes, added = [], []
    for original in graph.node:
        node = onnx.NodeProto.FromString(original.SerializeToString())
        nodes.append(node)
        groups = next((each.i for each in node.attribute if each.name == "group"), 1)
        if (
            node.op_type != "ConvTranspose"
            or groups == 1
            or len(node.input) < 3
            or node.input[2] not in stored
        ):
            continue
        bias = onnx.numpy_helper.to_array(stored[node.input[2]])
        rank = len(stored[node.input[1]].dims) if node.input[1] in stored else 4
        name = free_name(f"{node.input[2]}_{node.name}", taken)
        graph.initializer.append(onnx.numpy_helper.from_array(bias.reshape(-1, *[1] * (rank - 2)), name))
        nodes.append(_bias_apart(node, name, taken))
        added.append(nodes[-1].name)
    set_nodes(graph, nodes)
    drop_unused(model)
    return added


def gemms_to_matmuls(model: Any) -> dict[str, str]:
    """Each Gemm with a stored B becomes a MatMul of the same name, and an Add for C.

    ONNX Runtime's dynamic quantizer does it too, but transposes a B that is read by several Gemms once for each, and
    gives the MatMul another name. A Gemm that scales or transposes its A is left alone. Returns the weights that could
    not keep their name, since others read them as they were: new name to old.
    """
    import numpy as np
    import onnx

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    taken = names(model)
    turned: dict[str, str] = {}
    nodes = []
    for original in graph.node:
        node = onnx.NodeProto.FromString(original.SerializeToString())
        values = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        plain = (values.get("alpha", 1.0), values.get("beta", 1.0), values.get("transA", 0)) == (1.0, 1.0, 0)
        if _gemm_outputs(node, stored) is None or not plain:
            nodes.append(node)
            continue
        weight = node.input[1]
        if transposed(node):
            if weight not in turned:
                turned[weight] = free_name(f"{weight}_transposed", taken)
                array = np.ascontiguousarray(onnx.numpy_helper.to_array(stored[weight]).T)
                graph.initializer.append(onnx.numpy_helper.from_array(array, turned[weight]))
            weight = turned[weight]
        biased = len(node.input) > 2 and node.input[2]
        product = free_name(f"{node.output[0]}_product", taken) if biased else node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name))
        if biased:
            name = free_name(f"{node.name}_bias", taken)
            nodes.append(onnx.helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=name))
    set_nodes(graph, nodes)
    drop_unused(model)
    return keep_names(model, {new: old for old, new in turned.items()})


def separate(model: Any, nodes: set[str]) -> dict[str, list[str]]:
    """Give the nodes called `nodes` copies of the weights that others read too.

    Returns, by the weight's name, the nodes that now read a copy.
    """
    import onnx

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) > 1}
    shared = {
        name
        for name in stored
        if any(name in node.input for node in graph.node if node.name in nodes)
        and any(name in node.input for node in graph.node if node.name not in nodes)
    }
    taken = names(model)
    copies = {name: free_name(f"{name}_float", taken) for name in sorted(shared)}
    for name, copied in copies.items():
        tensor = onnx.TensorProto.FromString(stored[name].SerializeToString())
        tensor.name = copied
        graph.initializer.append(tensor)
    readers: dict[str, list[str]] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            if node.name in nodes and name in copies:
                node.input[position] = copies[name]
                readers.setdefault(name, []).append(node.name)
    return readers
