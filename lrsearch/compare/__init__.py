"""What a search cost: strategies side by side."""
