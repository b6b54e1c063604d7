"""The published room: exactly the files that travel with a checkpoint. They import each other relatively and flat."""
