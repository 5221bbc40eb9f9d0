"""The built-in people: a parametric body, posed, dressed, lit and photographed; numpy only."""
