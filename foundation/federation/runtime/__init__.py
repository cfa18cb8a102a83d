"""The engines of a run, whose sites are simulated, in this process, or on machines of their own."""
