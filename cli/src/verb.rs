//! One file a verb.

pub mod check;
pub mod demo;
pub mod doctor;
pub mod init;
pub mod plan;
pub mod run;
pub mod search;
pub mod sql;
pub mod status;
