"""Decoding in processes of their own: what strangers send may cost one request, never the service."""

from app.decoding.decoders import Decoders, DecodingLimits
from app.decoding.form import WHOLE, Form
from app.decoding.memory import SharedFile

__all__ = ["WHOLE", "Decoders", "DecodingLimits", "Form", "SharedFile"]
