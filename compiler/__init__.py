"""From a checked program to kernels: the graph, its meaning, passes and code generation."""
