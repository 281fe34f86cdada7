"""anamorph against torchvision v2 and PIL on random recipes: every difference is explained by a named reason, or reported.

    python -m tests.differential --cases 100000 --seed 0
"""
