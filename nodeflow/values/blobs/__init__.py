"""Blobs: the bytes of large values, in a local folder, in memory, or in an object store."""

from nodeflow.values.blobs.growing import Growing
from nodeflow.values.blobs.store import Blob, BlobStore

__all__ = ["Blob", "BlobStore", "Growing"]
