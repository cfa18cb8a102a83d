"""Radiology volumes: whole scans in three dimensions, on one grid."""
