"""What a PyTorch script needs: which names it uses, and whether graphc has them (`graphc port FILE.py`)."""
