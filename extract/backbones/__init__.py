"""The backbone networks: their layers, tensors and weights."""
