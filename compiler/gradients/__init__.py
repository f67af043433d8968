"""Differentiation: from a program of equations to its gradient, which is again equations.

`program` is the face, `reverse` goes through the graph from the end, `equations` knows how
reductions pass adjoints on, `scalar` the derivatives of scalar operations, `inversion` turns a
read round, `gathering` makes equations of what it finds, `contributions` sums them,
`recurrences` runs them backwards in time, and `taken_off` knows the maxima that cancel.
"""

from .program import Gradients, NoGradient, gradients, only, restricted
from .reverse import differentiate

__all__ = ["Gradients", "NoGradient", "differentiate", "gradients", "only", "restricted"]
