"""The optimisation plan measured step by step: from an adapter at run time to one call for answer and evaluation."""
