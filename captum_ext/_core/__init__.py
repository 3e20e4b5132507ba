"""What the metrics share. This package is private: nothing in it is part of the public interface."""
