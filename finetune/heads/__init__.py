"""One file a head: loss, calibration and prediction side by side."""
