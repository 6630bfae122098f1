"""The network from descriptors to LDOS: scaling, data, training, bundle."""
