"""The version of the package: that of the node it was written beside."""

__version__ = "0.1.0"
