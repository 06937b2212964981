"""What backends for devices share: from a native plan to kernels launched one after another."""
