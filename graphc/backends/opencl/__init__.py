"""Programs on OpenCL devices."""
