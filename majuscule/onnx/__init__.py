"""Models of ONNX as programs: equations in terms of the library, and the weights beside them.

`model_files` reads a file and refuses what is broken, `translation` walks its nodes in their order,
`folding` computes what is known without data (shapes above all), and the files named by groups of
operators say each node as a statement, which `writing` collects.  `importing` is the whole way.
"""
