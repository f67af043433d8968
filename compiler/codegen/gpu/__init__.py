"""Kernels for NVIDIA GPUs: roads, loops over threads, and CUDA C that becomes machine code without a GPU.

The plan of a program, its memory and its main function are those of the CPU.  Only kernels differ, and how
they are called: the main function runs on the CPU as ever, on addresses of the GPU's memory, and each of its
calls starts a kernel (see `starting`).
"""
