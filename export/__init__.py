"""Exporters: from a folded generator to a file of each format, which is checked against PyTorch before it is kept."""
