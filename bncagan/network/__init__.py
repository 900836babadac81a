"""The network of the paper: its parts, its folding into a fixed inference graph, its files."""
