"""What tb-demo shows, and the embedded servers that it and the tests run on."""
