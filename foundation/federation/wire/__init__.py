"""What travels between server and sites."""
