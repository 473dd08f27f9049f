"""Norms, alone and fused with the residual sum; each file is one operation."""
