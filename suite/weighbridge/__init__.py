"""Weighbridge: the gate that a pruned or quantized model must pass before it ships."""
