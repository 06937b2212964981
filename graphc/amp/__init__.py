"""`torch.amp`: autocast (products and convolutions in 16 bits) and GradScaler (16-bit gradients kept in range)."""

from graphc.amp.autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available
from graphc.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
