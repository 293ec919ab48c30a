//! Tables from tables, by SQL.
//!
//! A model is a `.sql` file whose path is its name. Its comment head says how it is kept and what must be true of its rows; the
//! tables in its `from` are its parents. This crate reads models, orders them, says what is wrong with them before anything
//! runs, runs them, and never fetches, sends or reads a clock.
//!
//! ```
//! use transform::{ModelFile, Models};
//!
//! let models = Models::parse(vec![
//!     ModelFile {
//!         path: "sql/shop/staging/orders.sql".into(),
//!         text: "-- One row per order: the newest wins.\n\
//!                -- materialize: latest by order_id order by fetched_at\n\
//!                -- check: between(amount, 0, 1000000)\n\
//!                select order_id, amount, _fetched_at as fetched_at from raw.orders where dt = $dt"
//!             .into(),
//!     },
//!     ModelFile {
//!         path: "sql/shop/marts/sales.sql".into(),
//!         text: "-- materialize: partition\nselect count(*) as orders, sum(amount) as amount from staging.orders".into(),
//!     },
//! ])
//! .map_err(transform::Error::Models)?;
//! let order: Vec<String> = models.iter().map(|model| model.name().to_string()).collect();
//! assert_eq!(order, ["staging.orders", "marts.sales"]);
//! # Ok::<(), transform::Error>(())
//! ```
//!
//! In reading order: [`Models`] and its heads, `statement` (what SQL leans on), [`Graph`], `verify` (every error without data),
//! `analysis` (the same for what is asked and makes no table),
//! [`Engine`], [`plan()`] (what would be done and why), [`Builder`] (rows → checks → commit), `merge` (the newest row of each key),
//! `check`, and [`functions`].
//!
//! The order of a build is: rows in files that nobody sees → checks → the record of what went in → one commit with the
//! fingerprint of all that. A check that finds something ends it before the commit, so bad rows are never visible.

mod analysis;
mod aside;
mod asked;
mod build;
mod check;
mod checked;
mod engine;
mod error;
mod explain;
mod extent;
mod facts;
mod fault;
mod function;
mod graph;
mod guard;
mod lint;
mod materialization;
mod memo;
mod merge;
mod model;
mod nearest;
mod plan;
mod position;
mod reach;
mod reason;
mod record;
mod rules;
mod session;
mod shape;
mod site;
mod state;
mod statement;
mod templates;
mod there;
mod verify;
mod window;

pub use analysis::{KEY, SINCE};
pub use build::{Builder, Outcome};
pub use engine::{Answer, Engine, EngineOptions};
pub use error::{CheckFailure, Error, Result, Seen};
pub use facts::When;
pub use function::{Function, functions};
pub use graph::{Graph, GraphError, Node, Selector, SelectorError};
pub use materialization::{MATERIALIZATIONS, Materialization};
pub use model::{CHECKS, Check, Model, ModelFile, Models, SETTINGS};
pub use plan::{Planned, plan};
pub use reason::{Action, Reason};
pub use state::{LakeState, StaleDays, TableState, spans, state};
pub use statement::parents;
pub use templates::{analyses, templates};
pub use there::is_there;
