"""torchao's static int8 through torch.export, with the quantizer that is made for Inductor on x86."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Inputs, Model, Promise, Step
from weighbridge.core.batches import rebuilt
from weighbridge.core.coverage import Coverage
from weighbridge.core.errors import StageError, first_line
from weighbridge.environment.extras import TORCHAO, load
from weighbridge.environment.quiet import quiet
from weighbridge.environment.requirements import overflows_here
from weighbridge.steps.calibration import Calibration
from weighbridge.steps.quantize.torch_choice import choose, of_another_type
from weighbridge.steps.selection import LayerOptions
from weighbridge.steps.torch_layers import WeightLayer, working_copy

_TRACES = ("stack_trace", "from_node", "source_fn_stack", "torch_fn", "custom")
_KINDS = ("Linear", "Conv1d", "Conv2d")
"""What the quantizer takes by itself, whatever the type of its weights."""
_ROOM = "torchao.quantization.pt2e"


class Pt2eOptions(LayerOptions):
    tunes: ClassVar = {}
    samples: int = Field(256, ge=1, description="From the split `calibration`.")
    reduce_range: bool = Field(
        default_factory=overflows_here,
        description="7 bits for activations: by default where this processor needs them, an x86 one without VNNI.",
    )


def pt2e(model: Model, options: Pt2eOptions, context: Context) -> Model:
    """An exported program whose Linear and convolution weights are int8 codes, a scale a channel, its activations uint8.

    Raises `StageError` where torch cannot export the module with a free batch, and where there is no such layer.
    """
    module = working_copy(model, "quantize").eval()
    chosen = choose(module, options, "torchao's x86 quantizer", "Linear and convolution layers", _unfit)
    left = [
        each.name
        for each in chosen.coverage.layers
        if not each.asked or (each.kind in _KINDS and not each.converted)
    ]
    sample, varying = context.data.sample(2), context.data.varying()
    with quiet():
        library = load(TORCHAO, f"{_ROOM}.quantize_pt2e")
        prepared = library.prepare_pt2e(
            _exported(module, sample, varying).module(), _quantizer(options, left)
        )
    _calibrate(prepared, options, context)
    with quiet():
        converted = library.convert_pt2e(prepared)
        _remove_unread(converted)
        _name_codes(converted, model.value)
        kept = {name for name, tensor in _tensors(converted) if tensor.is_floating_point()}
        program = _exported(converted, sample, varying)
    for node in program.graph.nodes:  # where each came from in the user's code: half of a small file
        for name in _TRACES:
            node.meta.pop(name, None)
    coverage = _covered(chosen.coverage, kept)
    return Model("exported", program, {}, (*model.notes, *coverage.sentences()), coverage)


def _exported(module: Any, sample: Inputs, varying: Mapping[str, Sequence[int]]) -> Any:
    """With a free batch, the axes of `varying` free too, and zeros as the example, which the file keeps."""
    import torch

    from weighbridge.engines.torch_eager import float_type
    from weighbridge.engines.torch_export import traced

    zeros = rebuilt(sample, lambda name, array, axis: array * 0)
    try:
        return traced(module, zeros, float_type(module), torch.export.Dim.DYNAMIC, varying)
    except Exception as error:  # torch raises whatever a pass of it, or the module's forward, raises
        raise StageError(
            "quantize", f"torch.export cannot take the module with a free batch: {first_line(error)}"
        ) from error


def _quantizer(options: Pt2eOptions, left: Collection[str]) -> Any:
    x86 = load(TORCHAO, f"{_ROOM}.quantizer.x86_inductor_quantizer")
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=options.reduce_range))
    for name in left:
        quantizer.set_module_name_qconfig(name, None)
    return quantizer


def _calibrate(prepared: Any, options: Pt2eOptions, context: Context) -> None:
    import torch

    from weighbridge.engines.torch_eager import float_type, to_tensors

    floats = float_type(prepared)
    with torch.no_grad():
        for batch in Calibration(context, options.samples):
            args = to_tensors(batch, floats=floats)
            prepared(**args) if isinstance(args, dict) else prepared(*args)


def _tensors(module: Any) -> list[tuple[str, Any]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _remove_unread(module: Any) -> None:
    """Remove the float weights whose codes took their place."""
    read = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in _tensors(module):
        if name not in read:
            _remove(module, name)


def _remove(module: Any, name: str) -> None:
    owner, _, attribute = name.rpartition(".")
    delattr(module.get_submodule(owner), attribute)


def _name_codes(module: Any, floats: Any) -> None:
    """Call the codes what the float weight was called, so that each can be held against its own.

    Where a normalization was folded into the weight, the codes stand for other numbers, and are called so.
    """
    for node in [node for node in module.graph.nodes if "dequantize_per_channel" in str(node.target)]:
        constant, product = node.args[0], next(iter(node.users))
        stack = list((product.meta.get("nn_module_stack") or {}).values())
        if constant.op != "get_attr" or "." in constant.target or not stack:
            continue
        layer, codes = stack[-1][0], getattr(module, constant.target)
        weight = floats.get_submodule(layer).weight.detach()
        rows = (-1, *[1] * (weight.dim() - 1))
        scale, zero_point = (getattr(module, one.target).reshape(rows) for one in node.args[1:3])
        own = bool((((codes - zero_point) * scale - weight).abs() <= scale).all())
        name = f"{layer}.{'weight' if own else 'folded_weight'}".lstrip(".")
        if _holds(module, name) and not _give_way(module, name, floats):
            continue
        _move(module, constant.target, name)
    module.recompile()


def _give_way(module: Any, name: str, floats: Any) -> bool:
    """Call a float weight that tied layers share, and that one of them reads still, by a name that no codes need: torch.export
    knows it by one of its names. False where there is none.
    """
    parameters = dict(floats.named_parameters(remove_duplicate=False))
    for other, parameter in parameters.items():
        if parameter is parameters.get(name) and not _holds(module, other):
            _move(module, name, other)
            return True
    return False


def _holds(module: Any, name: str) -> bool:
    return any(name == held for held, _ in _tensors(module))


def _move(module: Any, name: str, to: str) -> None:
    """Give a tensor of the graph another name."""
    import torch

    owner, _, attribute = name.rpartition(".")
    tensor = getattr(module.get_submodule(owner), attribute)
    _remove(module, name)
    layer, _, attribute = to.rpartition(".")
    place = _owner(module, layer)
    if isinstance(tensor, torch.nn.Parameter):
        place.register_parameter(attribute, tensor)
    else:
        place.register_buffer(attribute, tensor)
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target == name:
            node.target = to


def _owner(module: Any, path: str) -> Any:
    """The submodule at `path`, made where nothing of it is left."""
    import torch

    try:
        return module.get_submodule(path)
    except AttributeError:
        module.add_submodule(path, torch.nn.Module())
        return module.get_submodule(path)


def _covered(coverage: Coverage, kept: Collection[str]) -> Coverage:
    """As it came out: what the quantizer left in float by itself says so."""
    reason = "torchao's x86 quantizer left it"
    return Coverage(
        tuple(
            replace(layer, converted=False, reason=reason)
            if layer.converted and f"{layer.name}.weight" in kept
            else layer
            for layer in coverage.layers
        )
    )


def _unfit(layer: WeightLayer) -> str:
    import torch

    if type(layer.module) not in [getattr(torch.nn, kind) for kind in _KINDS]:
        return f"{', '.join(layer.weights)} of a {layer.kind}"
    return of_another_type(layer, torch.float32, torch.float16, torch.bfloat16)


def _promise(options: Pt2eOptions) -> Promise:
    return Promise(granularity="channel", symmetric=True, signed=True)


STEPS.add(
    "quantize:pt2e@torch",
    Step(
        "quantize",
        "pt2e",
        ("torch",),
        Pt2eOptions,
        pt2e,
        engine="torch",
        returns="exported",
        must="quantize",
        splits=("calibration",),
        scheme=_promise,
        requires=(TORCHAO,),
    ),
)
