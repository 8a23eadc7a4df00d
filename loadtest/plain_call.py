"""One call of a service outside of what a load test counts."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

_TIMEOUT_S = 60


def post(url: str, path: str, body: object) -> Any:
    """The answer to a POST of JSON.

    Raises:
        OSError: the service does not answer, or refuses; then the message is its answer.
    """
    request = urllib.request.Request(url.rstrip("/") + path, data=json.dumps(body).encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise OSError(error.read().decode(errors="replace")) from error
