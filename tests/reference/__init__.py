"""Independent references: NumPy, float64, written from the definitions."""
