//! What is paid, what is kept, what a kill costs.
