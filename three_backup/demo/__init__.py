"""The show of tb-demo, and the embedded servers that it and the tests run on."""
