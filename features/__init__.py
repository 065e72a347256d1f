"""The HDF5 feature store; it depends neither on images nor on networks or classifiers."""
