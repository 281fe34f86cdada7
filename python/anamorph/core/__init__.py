"""What every family of ops stands on: named errors, missing extras, other libraries' tensors, checks of arguments."""
