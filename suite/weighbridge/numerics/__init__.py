"""The reference arithmetic of quantization, the strategies and the properties."""

from weighbridge.numerics.properties import PROPERTIES, check, check_all
from weighbridge.numerics.quantizer import QUANTIZERS, KnownDifference, Quantizer
from weighbridge.numerics.schemes import Parameters, Scheme
from weighbridge.numerics.trial import Trial
from weighbridge.numerics.violation import Violation

__all__ = [
    "PROPERTIES",
    "QUANTIZERS",
    "KnownDifference",
    "Parameters",
    "Quantizer",
    "Scheme",
    "Trial",
    "Violation",
    "check",
    "check_all",
]
