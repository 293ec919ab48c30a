//! The database sink against real servers.
