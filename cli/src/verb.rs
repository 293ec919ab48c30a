//! One file a verb.

pub(crate) mod catalog;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod init;
pub(crate) mod plan;
pub(crate) mod reconcile;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod sql;
pub(crate) mod status;
pub(crate) mod upkeep;
pub(crate) mod worker;
