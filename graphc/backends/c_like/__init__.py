"""Kernels as text that OpenCL C and CUDA C compilers read: one printer, two heads."""
