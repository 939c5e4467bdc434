"""Steps that train: fine-tuning between the others."""
