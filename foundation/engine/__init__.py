"""Engine parts that every training command shares."""
