"""Late fusion of linear experts: one a block of plain features, fitted exactly, and combined for any subset."""
