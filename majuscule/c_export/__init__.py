"""Compiled programs as shared libraries with a C interface that need neither Python nor TVM."""
