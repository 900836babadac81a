"""From a folded generator to an artifact, and the proof that both draw the same pictures."""
