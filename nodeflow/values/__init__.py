"""A Python value to bytes and back, strictly: what JSON can't hold is refused, never changed."""

from nodeflow.values.codec import Encoded, decode, decode_each, digest, encode

__all__ = ["Encoded", "decode", "decode_each", "digest", "encode"]
