"""Report: free text."""
