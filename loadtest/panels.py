"""What every panel of both dashboards shows at this moment, as a Prometheus answers it.

python -m loadtest.panels --prometheus http://127.0.0.1:9090      # beside `make load`; status 1 where a panel is empty
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import urllib.parse
import urllib.request
from typing import Any

from tests.promql import PANELS
from triton.grafana.triton_board import GPU_PANELS

_WINDOW = "1m"  # what Grafana's own would be for a scrape every 15 seconds
_TIMEOUT_S = 30


def main() -> None:
    """Asks for each line of each panel and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="where it answers")
    url = parser.parse_args().prometheus
    empty = 0
    print("| dashboard | panel | lines | values |\n| --- | --- | --- | --- |")
    for each in PANELS:
        values = numbers(url, each.query)
        if not values and each.panel not in GPU_PANELS:
            empty += 1
        print(f"| {each.dashboard} | {each.panel} | {len(values)} | {_shown(values)} |", flush=True)
    print(f"\n{len(PANELS)} lines of panels, {empty} without a value that should have one")
    sys.exit(empty > 0)


def numbers(url: str, query: str) -> list[float]:
    """The values that a query has now, without those that are not a number.

    Raises:
        OSError: Prometheus does not answer, or refuses the query.
    """
    query = query.replace("$__rate_interval", _WINDOW)
    asked = f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(asked, timeout=_TIMEOUT_S) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    values = [float(each["value"][1]) for each in found]
    return [value for value in values if not math.isnan(value)]


def _shown(values: list[float]) -> str:
    if not values:
        return "none"
    least, most = min(values), max(values)
    return f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"


if __name__ == "__main__":
    main()
