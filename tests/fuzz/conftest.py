from __future__ import annotations

import sys
from pathlib import Path

# These are run as scripts; the tests import them as such.
sys.path.insert(0, str(Path(__file__).parent))
