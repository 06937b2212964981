"""Programs on CUDA devices.

No card has run them yet. NVRTC compiles the kernels, and a stand-in for CuPy over OpenCL runs what is around them
(tests/backends/nvidia).
"""
