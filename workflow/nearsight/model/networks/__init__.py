"""Network architectures, a folder each, found by name (`kind`).

An architecture is a trunk: a torch module that takes scaled descriptors, shape (points, inputs), and returns features,
shape (points, width), each row from the same row alone. What follows it is the same for all, a linear head to the LDOS,
so that sums over points and integrals over energies are formed from features and the LDOS of a large cell never is.

The folder's module (or that of an entry point, see `nearsight.plugins`) has

- `Settings`: a section of the study file (`training.network`) with a key `kind`;
- `build_trunk(settings, inputs)`: the trunk with its initial weights, on torch's default device; also on the device
  `meta`, which shows how large a bundle's tensors are before any memory is taken for them.

It imports torch where it needs it: a study file is checked without.
"""
