"""Few open files: connections of clients leave room for everything else, and the limit is raised as far as it goes."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import logging, resource, sys
from app.open_files import connections, raise_limit
logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
raise_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], connections(1024, outward=64))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "served"), [(256, 4096, 4096, 1024), (256, 512, 512, 64), (64, 64, 64, 8)]
)
def test_clients_get_what_all_else_leaves(soft: int, hard: int, raised: int, served: int) -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, str(soft), str(hard)], capture_output=True, text=True)
    assert ran.stdout.split() == [str(raised), str(served)], ran.stderr
    assert ("LIKENESS_MAX_CONNECTIONS" in ran.stderr) == (served < 1024)
