"""What a notebook sees: the cell, its rendering, the frames. Decisions live in the engine."""
