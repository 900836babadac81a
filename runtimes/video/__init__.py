"""Videos: every frame changed, and everything else kept; see clip.py."""
