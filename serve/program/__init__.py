"""The model as an exported program (torch.export), which runs with torch alone."""
