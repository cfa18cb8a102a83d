"""Radiology: slices of scans."""
