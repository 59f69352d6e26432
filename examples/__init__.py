"""Sample services. `python -m examples.NAME` finds the files beside it just as `python examples/NAME.py` does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
