"""Groups of patients: by risk, with thresholds fixed before, and by what the encoder makes of them."""
