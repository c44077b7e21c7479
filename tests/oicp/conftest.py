import sys
from pathlib import Path

from hypothesis import settings

# The faultless messages stand in a module of their own beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

# Other work may share the machine: slowness is no failure.
settings.register_profile("oicp", deadline=None)
settings.load_profile("oicp")
