//! The replica as a command.

fn main() {}
