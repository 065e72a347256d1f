"""The HDF5 feature store. Stands on the ground: knows nothing of images, networks or classifiers."""
