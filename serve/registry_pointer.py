"""The file of a registry of releases that says which one is in use: what an endpoint follows."""

POINTER = "current.json"
