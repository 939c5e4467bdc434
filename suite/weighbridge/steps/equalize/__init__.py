"""Steps that move scales from one layer to the next, so that both quantize better; the model computes the same."""
