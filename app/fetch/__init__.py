"""Image URIs to bytes: http, https and data URIs, within limits of size, time and reachable addresses."""

from app.fetch.allow_list import AllowList
from app.fetch.data_uri import is_data_uri
from app.fetch.fetcher import Fetcher, FetchLimits

__all__ = ["AllowList", "FetchLimits", "Fetcher", "is_data_uri"]
