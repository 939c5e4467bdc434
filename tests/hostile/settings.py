"""Case files made to hang, crash or fool their reader: each with the sentence that it gets."""

from __future__ import annotations

RIGHT = """\
model: {onnx: m.onnx}
recipe: [{quantize: dynamic, engine: onnxruntime}]
thresholds: {size_ratio: 2}
"""


def limits(text: str) -> str:
    return RIGHT.replace("size_ratio: 2", text)


LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
SETTINGS: dict[str, tuple[str | bytes, str]] = {
    "deep_flow": ("[" * 30_000, "nested more than 50 levels deep"),
    "deep_mappings": ("{a: " * 30_000, "nested more than 50 levels deep"),
    "deep_blocks": ("- " * 30_000, "nested more than 50 levels deep"),
    "aliases": (LAUGHS, "aliases expand to more than 50000 values"),
    "hexadecimal": (f"{RIGHT}seed: 0x{'f' * 4300}\n", "cannot be read as !!int"),
    "decimal": (f"{RIGHT}seed: {'9' * 5000}\n", "cannot be read as !!int"),
    "open_expression": (f"{RIGHT}data: '${{{{{' ' * 6000}'\n", r"`\$\{\{` is never closed"),
    "open_expressions": (f"{RIGHT}data: '{'${{ ' * 5000}'\n", r"`\$\{\{` is never closed"),
    "matrix": (
        f"{RIGHT}matrix: {{{', '.join(f'a{i}: [0, 1, 2, 3, 4]' for i in range(9))}}}\n",
        "at most 1000 are allowed",
    ),
    "threads": (f"{RIGHT}engine: {{threads: 100000}}\n", "should be less than or equal to 1024"),
    "no_thread": (f"{RIGHT}engine: {{threads: 0}}\n", "should be greater than or equal to 1"),
    "repeat": (f"{RIGHT}repeat: 100000000\n", "should be less than or equal to 100"),
    "no_time": (f"{RIGHT}limits: {{time: -1}}\n", "should be greater than 0"),
    "large": (f"{RIGHT}skip: {'x' * (5 << 20)}\n", "is larger than 4 MiB"),
    "no_utf8": (b"\xff\xfe\x00", "is not UTF-8"),
    "zero_byte": (f"{RIGHT}seed: \0\n", "not YAML"),
    "python": ("!!python/object/apply:os.system ['true']\n", "is not supported"),
    "command_as_key": (f'{RIGHT}"\\e[31m\\n::error::x": 1\n', r"\\x1b\[31m\\x0a::error::x"),
    "surrogate": (f'{RIGHT}"\\uD800": 1\n', "invalid Unicode"),
    "name_of_nothing_seen": (f'{RIGHT}name: "a\\u202eb"\n', "others that cannot be seen"),
    "name_with_escape": (f'{RIGHT}name: "a\\eb"\n', "should have no control characters"),
    "no_xfail_reason": (f"{RIGHT}xfail: ''\n", "`xfail` needs its reason"),
    "blank_xfail_reason": (f"{RIGHT}xfail: {{size_ratio: ' '}}\n", "`xfail` needs its reason"),
    "no_skip_reason": (f"{RIGHT}skip: ''\n", "`skip` needs its reason"),
    "misspelt_package": (f"{RIGHT}requires: [{{package: onnxruntme}}]\n", "did you mean 'onnxruntime'"),
    "versioned_package": (f"{RIGHT}requires: [{{package: 'torch>=2'}}]\n", "without a version"),
    "unknown_engine": (f"{RIGHT}requires: [{{engine: onnxruntim}}]\n", "did you mean 'onnxruntime'"),
    "no_instruction_set": (f"{RIGHT}requires: [{{isa: 'avx 2'}}]\n", "is no instruction set"),
    "misspelt_instruction_set": (
        f"{RIGHT}requires: [{{isa: avx512vnni}}]\n",
        "no processor has the flag 'avx512vnni'; did you mean 'avx512_vnni'?",
    ),
    "large_seed": (f"{RIGHT}seed: 99999999999999999999\n", "should be less than 9223372036854775808"),
    "denied_operator": (limits("operators: {denied: [if]}"), "did you mean 'If'"),
    "misspelt_operator": (
        limits("operators: {denied: [DequantiseLinear]}"),
        "did you mean 'DequantizeLinear'",
    ),
    "denied_type": (
        limits("dtypes: {denied: [fp32]}"),
        "no number is of the type 'fp32'; did you mean 'float32'",
    ),
    "misspelt_domain": (limits("domains: {allowed: [ai.onx]}"), "did you mean 'ai.onnx'"),
}
LOOK_ALIKES: dict[str, str] = {
    "own_operator": limits("operators: {denied: [MyFusedAttention]}"),
    "contributed_operator": limits(
        "operators: {allowed: [QLinearAdd, QAttention, BiasGelu, FusedMatMul, If]}"
    ),
    "own_domain": limits("domains: {allowed: [com.example.edge]}"),
    "small_types": limits("dtypes: {allowed: [int4, uint4, float8_e4m3fn, bfloat16, bool]}"),
    "absent_package": f"{RIGHT}requires: [{{package: tensorrt}}]\n",
    "closed_expression": f"{RIGHT}matrix: {{size: [1, 2]}}\nseed: ${{{{ matrix.size }}}}\n",
}
