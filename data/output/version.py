"""The version of this package. It is kept here, below all who write it into files."""

VERSION = "0.2.0"
