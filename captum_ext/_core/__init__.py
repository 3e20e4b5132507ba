"""What the metrics share. Private: nothing here is part of the interface."""
