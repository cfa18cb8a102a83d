"""Parts of `scripts/bench/life.py`: the world that hospitals see, commands in processes of their own, the checks."""
