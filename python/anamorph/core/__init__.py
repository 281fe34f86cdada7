"""What every family of ops stands on: named errors, other libraries' tensors, checks of arguments."""
