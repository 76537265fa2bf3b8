"""Protobuf, which typed Go clients send and ask for: built-in kinds by the field numbers of `builtin_types.txt`."""

from virt_local.apiserver.protobuf.decoding import MAGIC, decode
from virt_local.apiserver.protobuf.encoding import encode
from virt_local.apiserver.protobuf.messages import READABLE, writable

__all__ = ["MAGIC", "READABLE", "decode", "encode", "writable"]
