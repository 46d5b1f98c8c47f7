from __future__ import annotations

import sys
from pathlib import Path

# The benchmark is run as a script; its modules import each other as such.
sys.path.insert(0, str(Path(__file__).parent))
