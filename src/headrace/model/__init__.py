"""The Transformer in PyTorch: tensors in, tensors out."""

from headrace.core.threads import wait_quietly

wait_quietly()
