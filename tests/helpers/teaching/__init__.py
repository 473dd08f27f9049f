"""What tests of handed-out and graded notebooks share."""
