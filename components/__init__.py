"""spaCy pipes: one file a component, no tensor maths."""
