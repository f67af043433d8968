"""Weights in and out: tensors of PyTorch, by its names and in its layouts, and the weights of a program.

What a weight is called in PyTorch, and how it lies there, says `counterparts`; which tensor of a
file it is, `matching`; `importing` and `exporting` copy the numbers.
"""
