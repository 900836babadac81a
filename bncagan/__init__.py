"""BNCAGAN: the network, its training and its folding into a fixed inference graph.

Nothing is imported here, so that `bncagan enhance` runs on devices without torch.
"""

__version__ = "0.2.0"
