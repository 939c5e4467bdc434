"""A torch state dict as plain tensors, and back: the packed weights of quantized layers as codes, scales and zero points.

A packed quantized weight `p` becomes `p.codes` (int8), `p.scale`, `p.zero_point` and, per channel, `p.axis`. A recurrent
cell's pack holds two of them, and two biases. torchao's int8 weights are kept the same way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from weighbridge.core.arrays import Array
from weighbridge.core.errors import StageError

if TYPE_CHECKING:
    import torch

_LINEAR = "_packed_params._packed_params"
_EMBEDDING = "_packed_params._packed_weight"
_PLACE = re.compile(
    r"(?:(?P<owner>.*)\.)?_all_weight_values\.(?P<place>\d+)\.param\.(?P<part>(?:weight|bias)_[ih]h)"
)
"""A part of a recurrent layer's pack, counted through its layers and, in each, its directions."""
_TORCHAO = "Int8Tensor"
"""The class of torchao's int8 weights, which are a parameter like another."""
_TABLES = 0.1
"""So large a share of a module's numbers may be tables of places or colours."""
_CELL = "CellParams"
"""In the class name of torch's packed recurrent weights."""


def flatten(module: torch.nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The state dict as plain tensors, and the names that share another's storage.

    Raises `StageError` for what no file of plain tensors can hold.
    """
    plain: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for name, value in _parts(module):
        if value.is_quantized:
            _keep_quantized(name, value, plain)
            continue
        key = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() and key in seen:
            aliases[name] = seen[key]
        else:
            seen[key] = name
            plain[name] = value.detach()
    return plain, aliases


def _parts(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of the state dict, those inside packs too."""
    import torch

    for name, value in module.state_dict().items():
        if name.endswith(_LINEAR) and isinstance(value, tuple):
            weight, bias = value
            if not weight.is_quantized:
                raise _unpackable(name, "float16")
            yield f"{name}.weight", weight
            if bias is not None:
                yield f"{name}.bias", bias
        elif isinstance(value, torch.ScriptObject) and _CELL in str(value._type()):
            yield from _cell(name, value)
        elif is_torchao(value):
            yield from _torchao(name, value)
        elif isinstance(value, torch.Tensor):
            if value.is_quantized and value.dtype not in (torch.qint8, torch.quint8, torch.qint32):
                raise _unpackable(name, str(value.dtype))
            yield name, value
        elif not isinstance(value, torch.dtype):
            raise _unpackable(name, type(value).__name__)


def _unpackable(name: str, kind: str) -> StageError:
    return StageError(
        "save",
        f"'{name}' is packed as {kind}, which no checkpoint of plain tensors can hold; "
        "quantize Linear, LSTM, GRU and Embedding layers to int8, or export to ONNX first",
    )


def _cell(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Input and recurrent weights, biases and the flag of one layer and direction of a dynamic LSTM or GRU."""
    import torch

    (kind, biases, _, flags, packs), _ = value.__getstate__()
    if kind != "quantized_dynamic":
        raise _unpackable(name, str(kind))
    for part, pack, bias in zip(("ih", "hh"), packs, biases, strict=True):
        yield f"{name}.weight_{part}", torch.ops.quantized.linear_unpack(pack)[0]
        yield f"{name}.bias_{part}", bias
    yield f"{name}.reduce_range", torch.tensor(flags)


def is_torchao(value: Any) -> bool:
    """Whether it is one of torchao's tensors, which have no memory of their own: their parts have."""
    return type(value).__module__.partition(".")[0] == "torchao"


def _torchao(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The parts of an int8 weight with a scale a row, and activations in float or quantized as they come."""
    import torch

    whole = type(value).__name__ == _TORCHAO and list(value.block_size) == [1, value.shape[-1]]
    if not whole or value.act_quant_scale is not None or value.act_pre_scale is not None:
        raise _unpackable(name, type(value).__name__)
    yield f"{name}.codes", value.qdata
    yield f"{name}.scale", value.scale.flatten()
    yield f"{name}.zero_point", value.zero_point.flatten()
    yield f"{name}.axis", torch.tensor(0)


def _refilled(like: Any, base: str, tensors: Mapping[str, torch.Tensor]) -> Any:
    """torchao's weight of a fresh module, with the numbers of the file."""
    scale, zero_point = (tensors[f"{base}.{part}"].reshape(-1, 1) for part in ("scale", "zero_point"))
    return type(like)(
        tensors[f"{base}.codes"],
        scale,
        like.block_size,
        like.dtype,
        zero_point=zero_point,
        act_quant_kwargs=like.act_quant_kwargs,
        reduce_range=like.reduce_range,
    )


def _keep_quantized(name: str, tensor: torch.Tensor, into: dict[str, torch.Tensor]) -> None:
    import torch

    into[f"{name}.codes"] = tensor.int_repr()
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        into[f"{name}.scale"] = torch.tensor(tensor.q_scale())
        into[f"{name}.zero_point"] = torch.tensor(tensor.q_zero_point())
    else:
        into[f"{name}.scale"] = tensor.q_per_channel_scales()
        into[f"{name}.zero_point"] = tensor.q_per_channel_zero_points()
        into[f"{name}.axis"] = torch.tensor(tensor.q_per_channel_axis())


def coded(tensors: Mapping[str, torch.Tensor], module: torch.nn.Module) -> set[str]:
    """The names of what `tensors` keeps as codes. A tensor of the module's own that is called `codes` is itself."""
    own = module.state_dict().keys()
    ending = ".codes"
    return {name.removesuffix(ending) for name in tensors if name.endswith(ending) and name not in own}


def unexplained(tensors: Mapping[str, torch.Tensor], bases: Collection[str]) -> list[str]:
    """Integers of the module's own that may be weights in codes: of two long axes, no mask, and many beside the others.

    Indices, of which torch takes 64 bits, are none.
    """
    own = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[0] not in bases}
    integers = [
        name for name, tensor in own.items() if not tensor.is_floating_point() and _may_be_codes(tensor)
    ]
    many = sum(tensors[name].numel() for name in integers)
    return integers if many > _TABLES * sum(tensor.numel() for tensor in tensors.values()) else []


def _may_be_codes(tensor: torch.Tensor) -> bool:
    if tensor.dtype.itemsize >= 8 or tensor.is_complex() or sum(side > 1 for side in tensor.shape) < 2:
        return False
    numbers = as_array(tensor)  # torch has no comparison for each type
    return bool(numbers.size and ((numbers != numbers.min()) & (numbers != numbers.max())).any())


def as_array(tensor: torch.Tensor) -> Array:
    """The numbers of a tensor; of a type that numpy lacks, such as torch's uint4, the bytes that hold them."""
    import torch

    try:
        return tensor.numpy()
    except TypeError:
        return tensor.view(torch.uint8 if tensor.itemsize == 1 else torch.uint16).numpy()


def pack(tensors: Mapping[str, torch.Tensor], module: torch.nn.Module) -> dict[str, Any]:
    """The reverse of `flatten`: what the `load_state_dict` of the module takes."""
    import torch

    bases = coded(tensors, module)
    fresh = {name: value for name, value in module.state_dict().items() if is_torchao(value)}
    state: dict[str, Any] = {
        base: _refilled(fresh[base], base, tensors) if base in fresh else _quantized(base, tensors)
        for base in bases
    }
    cells = {
        base.removesuffix(".weight_ih")
        for base in bases
        if f"{base.removesuffix('.weight_ih')}.reduce_range" in tensors
    }
    for name, tensor in tensors.items():
        owner, _, last = name.rpartition(".")
        if owner in bases and last in ("codes", "scale", "zero_point", "axis"):
            continue
        if owner not in cells and not owner.endswith(_LINEAR):
            state[name] = tensor
    for owner in cells:
        packs = [
            torch.ops.quantized.linear_prepack(
                state.pop(f"{owner}.weight_{part}"), tensors[f"{owner}.bias_{part}"]
            )
            for part in ("ih", "hh")
        ]
        biases = [tensors[f"{owner}.bias_{part}"] for part in ("ih", "hh")]
        reduce = bool(tensors[f"{owner}.reduce_range"].any())
        state[owner] = torch.ops.quantized.make_quantized_cell_params_dynamic(*packs, *biases, reduce)
    for base in bases:
        owner = base.removesuffix(".weight")
        if owner.endswith(_LINEAR):
            state[owner] = (state.pop(base), tensors.get(f"{owner}.bias"))
            state[owner.removesuffix("_packed_params") + "dtype"] = torch.qint8
        elif base.endswith(_EMBEDDING):
            state[base.removesuffix("_packed_weight") + "dtype"] = state[base].dtype
    return state


def _quantized(base: str, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    import torch

    codes, scale, zero_point = (tensors[f"{base}.{part}"] for part in ("codes", "scale", "zero_point"))
    axis = tensors.get(f"{base}.axis")
    if axis is None:
        return torch._make_per_tensor_quantized_tensor(codes, float(scale), int(zero_point))
    return torch._make_per_channel_quantized_tensor(codes, scale, zero_point, int(axis))


def shown(name: str, layers: Mapping[str, torch.nn.Module]) -> str:
    """A tensor's name without what the packing adds to it: of a recurrent layer's, as the float layer has it."""
    for packed in (_LINEAR, _EMBEDDING.removesuffix("._packed_weight")):
        name = name.replace(f".{packed}", "").removeprefix(f"{packed}.")
    if (found := _PLACE.fullmatch(name)) is not None:
        owner = found["owner"] or ""
        layer, reverse = divmod(int(found["place"]), 1 + bool(getattr(layers[owner], "bidirectional", False)))
        return f"{owner}.{found['part']}_l{layer}{'_reverse' if reverse else ''}".lstrip(".")
    return name.replace("_packed_weight", "weight")
