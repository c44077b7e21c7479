import sys
from pathlib import Path

# The faultless messages stand in a module of their own beside the tests.
sys.path.insert(0, str(Path(__file__).parent))
