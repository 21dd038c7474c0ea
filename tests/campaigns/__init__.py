"""Long campaigns; a small seeded version of each is in the test suite."""
