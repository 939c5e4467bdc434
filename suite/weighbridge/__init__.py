"""Weighbridge: the gate that a pruned or quantized model must pass before it ships.

PYTEST_DONT_REWRITE (`plugin/__init__.py` has the reason)
"""
