"""What `scripts/bench/gpu.py` measures, a module a section."""
