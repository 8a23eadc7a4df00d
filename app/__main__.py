"""``python -m app`` is the command ``likeness``."""

import sys

from app.cli import main

sys.exit(main())
