"""Tools for trials that a prognostic score makes smaller, shorter or possible."""
