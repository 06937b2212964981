"""What tensors can do, a theme a file; `tensors.py` puts them together."""
