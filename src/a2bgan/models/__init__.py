"""Networks: tensors in, tensors out; no losses, no optimisers, no files."""
