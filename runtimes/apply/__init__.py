"""What a network changes in a photograph, as a curve and local colour maps that apply at any size: docs/applying.md."""
