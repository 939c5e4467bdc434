"""The quantizers that are property-tested: the reference and the implementations users' models run on.

One implementation a file; each registers itself in `QUANTIZERS`.
"""
