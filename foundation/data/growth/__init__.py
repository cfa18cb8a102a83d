"""A prepared cohort that grows: what is new, changed or withdrawn is taken in, and nothing else is read again."""
