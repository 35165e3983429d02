"""A Python value to bytes and back: equal and of the same type, or refused with the path of what is wrong."""

from nodeflow.values.codec import Encoded, decode, decode_each, digest, encode, is_plain, to_tree
from nodeflow.values.files import File
from nodeflow.values.refs import FileRefValue, JsonRefValue, MemoryRefValue, RefValue
from nodeflow.values.registry import TYPES

register = TYPES.register
"""Let values of a type be kept and sent; see `Registry.register`."""

declare = TYPES.declare
"""Let the classes in a module's namespace be kept and sent; see `Registry.declare`."""

__all__ = [
    "Encoded",
    "File",
    "FileRefValue",
    "JsonRefValue",
    "MemoryRefValue",
    "RefValue",
    "decode",
    "decode_each",
    "declare",
    "digest",
    "encode",
    "is_plain",
    "register",
    "to_tree",
]
