"""Genomics: expression, mutations and copy number by gene."""
