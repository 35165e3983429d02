"""A Python value to bytes and back, strictly: what JSON can't hold is refused, never changed."""

from nodeflow.values.codec import decode, digest, encode

__all__ = ["decode", "digest", "encode"]
