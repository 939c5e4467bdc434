"""What holds for every quantizer, each property named, with its tolerance derived.

Tolerances come from one model: float32 operations are off by at most a unit roundoff u = 2**-24 of their result
(IEEE 754). `Trial.slack` is what that makes of a ratio x / scale; a dequantized value is one difference (exact, as
codes have at most 16 bits) and at most two roundings, so it is off by 2u of itself, or by the smallest float32.
"""

from weighbridge.numerics.properties import codes, parameters, storage, values
from weighbridge.numerics.properties.base import PROPERTIES, Property, check, check_all

__all__ = ["PROPERTIES", "Property", "check", "check_all", "codes", "parameters", "storage", "values"]
