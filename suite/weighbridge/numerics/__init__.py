"""The reference arithmetic of quantization, the strategies and the properties."""
