"""Image URIs to bytes: http, https and data URIs, within limits of size, time and reachable addresses."""

from app.fetch.fetcher import Fetcher, FetchLimits

__all__ = ["FetchLimits", "Fetcher"]
