"""Read a store with h5py alone, on a machine without freezeframe; features/FORMAT.md has the rest.

usage: python scripts/examples/plain_h5py.py STORE
"""

import sys

import h5py

with h5py.File(sys.argv[1], "r") as file:
    assert file.attrs["format"] == "freezeframe-features"
    print(dict(file["provenance"].attrs)["backbone"], file.attrs["format_version"])
    done = file["rows/status"][:] == 1
    labels = file["rows/label"].asstr()[:][done]
    for name, layer in file["layers"].items():
        maps = layer[done, :, :, :].astype("float32")
        print(f"{name}: {maps.shape}, {layer.dtype}")
        for label in sorted(set(labels)):
            print(f"  {label}: mean {maps[labels == label].mean():.4f}")
